/** What is behind each path: pure functions of the control port. No secrets: only states and numbers leave here. */
import type { ControlPort } from '../control/port.ts';
import type { Metrics } from '../observe/metrics.ts';
import { metricsFormat } from './accept.ts';

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface Doors {
  readonly control: ControlPort;
  readonly metrics: Metrics;
}

const JSON_TYPE = 'application/json; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

export function textAnswer(status: number, text: string): Answer {
  return { status, contentType: TEXT_TYPE, body: `${text}\n` };
}

function jsonAnswer(status: number, value: Readonly<Record<string, unknown>>): Answer {
  return { status, contentType: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}

/** The process serves: 200, or 503 while it shuts down. A paused proxy is healthy, its clients wait. */
function health({ control }: Doors): Answer {
  const { paused, suspended } = control.state();
  if (control.healthy()) return jsonAnswer(200, { status: 'ok', paused, suspended });
  const status = control.isShuttingDown() ? 'shutting down' : 'not serving';
  return jsonAnswer(503, { status, paused, suspended });
}

/** New clients should be sent here: as /health, but not while everything is suspended. */
function ready(doors: Doors): Answer {
  const { paused, suspended } = doors.control.state();
  if (!doors.control.healthy() || doors.control.isShuttingDown()) return health(doors);
  if (suspended) return jsonAnswer(503, { status: 'suspended', paused, suspended });
  return jsonAnswer(200, { status: 'ready', paused, suspended });
}

interface Door {
  readonly what: string;
  answer(doors: Doors, accept: string | undefined): Answer | Promise<Answer>;
}

const DOORS: ReadonlyMap<string, Door> = new Map<string, Door>([
  [
    '/',
    {
      what: 'this list',
      answer: () => textAnswer(200, `pgconcierge\n\n${INDEX}`),
    },
  ],
  ['/health', { what: '200 while new clients are served, 503 otherwise', answer: health }],
  ['/ready', { what: '200 when new clients may be sent here, 503 otherwise', answer: ready }],
  [
    '/metrics',
    {
      what: 'Prometheus metrics',
      async answer({ metrics }, accept) {
        const { contentType, body } = await metrics.render(metricsFormat(accept));
        return { status: 200, contentType, body };
      },
    },
  ],
]);

const INDEX = [...DOORS].map(([path, { what }]) => `${path.padEnd(10)}${what}`).join('\n');

/** The answer for a path without its query; 404 when there is no such door. Rejects when the data plane throws. */
export async function answerFor(path: string, accept: string | undefined, doors: Doors): Promise<Answer> {
  const door = DOORS.get(path);
  return door === undefined ? textAnswer(404, 'not found') : door.answer(doors, accept);
}
