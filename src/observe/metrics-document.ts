/** Writes docs/metrics.md from the table of metrics; a test compares the file with it. */
import { METRICS } from './metrics-table.ts';

const INTRODUCTION = `# Metrics

Generated from \`src/observe/metrics-table.ts\`; \`npm test\` compares. To write it anew:
\`UPDATE_DOCS=1 node --test dist/test/unit/observe/metrics-document.test.js\`.

\`GET /metrics\` on \`http_addr\`:\`http_port\` gives the Prometheus text format 0.0.4, or OpenMetrics 1.0 to a scraper that asks
for it. The text is at most one second old.

- The number of \`(database, user)\` pairs, of databases, close reasons, nodes and clusters shown by name is bounded (100 of
  each; 1000 combinations of route decisions). What is above is summed under \`_other\`, where counters never go down;
  \`node_up\` is 0 there when one node is down, lags are the longest.
- Clients are not counted by address or application name, and no label carries a query text.
- Reasons that quote something are counted under their template: \`no such database: %s\`.
- Histogram buckets are powers of two of a microsecond from 16 µs to 67 s.

| name | type | labels | meaning |
|---|---|---|---|
`;

const PROCESS = `
## The process

prom-client's default metrics, under their usual names so that the common dashboards for Node work: \`process_*\` (CPU, resident
memory, file descriptors, start time) and \`nodejs_*\` (heap, event loop lag, garbage collection, version). Those that would
list every socket of the process at each scrape (\`nodejs_active_*\`) are left out.
`;

/** The whole of docs/metrics.md. */
export function metricsDocument(): string {
  const rows = METRICS.map(({ name, type, help, labels }) => {
    const shown = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${shown} | ${help} |\n`;
  });
  return INTRODUCTION + rows.join('') + PROCESS;
}
