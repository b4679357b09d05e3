/** Which exposition a scraper wants: a small part of HTTP's content negotiation (RFC 9110, section 12.5.1). Pure. */
import type { MetricsFormat } from '../observe/metrics.ts';

/** OpenMetrics when it is asked for by name and liked at least as well as text/plain, else the text format. */
export function metricsFormat(accept: string | undefined): MetricsFormat {
  let open = 0;
  let text = 0;
  for (const range of (accept ?? '').toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    const q = parameters.find((parameter) => parameter.startsWith('q='));
    const quality = q === undefined ? 1 : Number(q.slice(2)) || 0;
    if (type === 'application/openmetrics-text') open = Math.max(open, quality);
    if (type === 'text/plain') text = Math.max(text, quality);
  }
  return open > 0 && open >= text ? 'openmetrics' : 'text';
}
