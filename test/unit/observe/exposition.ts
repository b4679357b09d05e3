/** Reads the Prometheus text format (and OpenMetrics) back, strictly: what a scraper would refuse is an error here. */
export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: {
    readonly name: string;
    readonly labels: ReadonlyMap<string, string>;
    readonly value: number;
  }[];
}

const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
};

function readLabels(text: string): Map<string, string> {
  const labels = new Map<string, string>();
  const one = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;
  while (one.lastIndex < text.length) {
    const found = one.exec(text);
    if (found === null) throw new Error(`bad labels: ${text}`);
    const [, name = '', value = ''] = found;
    if (labels.has(name)) throw new Error(`label ${name} twice: ${text}`);
    labels.set(
      name,
      value.replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char)),
    );
  }
  return labels;
}

function readValue(text: string): number {
  if (text === '+Inf' || text === 'Inf') return Number.POSITIVE_INFINITY;
  const value = Number(text);
  if (text === '' || (Number.isNaN(value) && text !== 'NaN' && text !== 'Nan'))
    throw new Error(`bad value ${text}`);
  return value;
}

/** Families by name. Throws on anything malformed, repeated or out of place. */
export function parseExposition(text: string, format: 'text' | 'openmetrics'): Map<string, Family> {
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let name = '';
  let help = '';
  if (!text.endsWith('\n')) throw new Error('no newline at the end');
  const lines = text.slice(0, -1).split('\n');
  if (format === 'openmetrics' && lines.pop() !== '# EOF') throw new Error('no # EOF');
  for (const line of lines) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (comment !== null) {
      const [, word, of = '', rest = ''] = comment;
      if (word === 'HELP') {
        name = of;
        help = rest;
      } else {
        if (of !== name || families.has(of)) throw new Error(`family ${of} twice or without help`);
        families.set(of, { type: rest, help, samples: [] });
      }
      continue;
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null) throw new Error(`bad line: ${line}`);
    const [, sampleName = '', labelText = '', valueText = ''] = sample;
    const family = families.get(name);
    if (family === undefined) throw new Error(`sample before its family: ${line}`);
    const plain = family.type === 'counter' && format === 'openmetrics' ? ['_total'] : [''];
    const suffixes = SUFFIXES[family.type] ?? plain;
    if (!suffixes.some((suffix) => sampleName === name + suffix))
      throw new Error(`${sampleName} in family ${name}`);
    const labels = readLabels(labelText);
    const identity = JSON.stringify([sampleName, [...labels].sort()]);
    if (seen.has(identity)) throw new Error(`twice: ${line}`);
    seen.add(identity);
    family.samples.push({ name: sampleName, labels, value: readValue(valueText) });
  }
  return families;
}

/** The value of one sample; `labels` must be all of its labels. Undefined when there is no such sample. */
export function sampleValue(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const wanted = JSON.stringify(Object.entries(labels).sort());
  for (const family of families.values()) {
    for (const sample of family.samples) {
      if (sample.name === name && JSON.stringify([...sample.labels].sort()) === wanted) return sample.value;
    }
  }
  return undefined;
}
