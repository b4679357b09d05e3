/** What is behind each path: functions of the control port. No secrets: only states and numbers leave here. */
import type { ControlPort } from '../control/port.ts';
import type { Metrics } from '../observe/metrics.ts';
import { metricsFormat } from './accept.ts';
import { type Answer, jsonAnswer, textAnswer } from './answer.ts';
import { BadRequest, primariesOf, primaryAnswer, type RedetectDoor, replicaAnswer } from './clusters.ts';

export interface Doors {
  readonly control: ControlPort;
  readonly metrics: Metrics;
  readonly redetect: RedetectDoor;
}

export interface Asked {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly accept: string | undefined;
}

/** The process serves: 200, or 503 while it shuts down. A paused proxy is healthy, its clients wait. */
function health({ control }: Doors): Answer {
  const { paused, suspended } = control.state();
  if (control.healthy()) return jsonAnswer(200, { status: 'ok', paused, suspended });
  const status = control.isShuttingDown() ? 'shutting down' : 'not serving';
  return jsonAnswer(503, { status, paused, suspended });
}

/**
 * New clients should be sent here: as /health, but not while everything is suspended, nor while no cluster has a usable
 * primary. One of several without a primary does not take the clients of the others away.
 */
function ready(doors: Doors): Answer {
  const { paused, suspended } = doors.control.state();
  if (!doors.control.healthy() || doors.control.isShuttingDown()) return health(doors);
  if (suspended) return jsonAnswer(503, { status: 'suspended', paused, suspended });
  const clusters = doors.control.clusters();
  if (clusters.length === 0) return jsonAnswer(200, { status: 'ready', paused, suspended });
  const isUsable = clusters.some((cluster) => cluster.primary !== null);
  const status = isUsable ? 'ready' : 'no primary';
  return jsonAnswer(isUsable ? 200 : 503, { status, paused, suspended, primaries: primariesOf(clusters) });
}

interface Door {
  readonly what: string;
  /** Default GET (and HEAD). */
  readonly method?: 'POST';
  answer(doors: Doors, asked: Asked): Answer | Promise<Answer>;
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
    '/primary',
    {
      what: '200 when the cluster has a usable primary; ?cluster=main, ?node=pg1 (that one), 503 otherwise',
      answer: ({ control }, { query }) => primaryAnswer(control, query),
    },
  ],
  [
    '/replica',
    {
      what: '200 when a replica takes reads; ?cluster=main, ?node=pg2, ?lag=10MB (at most), 503 otherwise',
      answer: ({ control }, { query }) => replicaAnswer(control, query),
    },
  ],
  [
    '/redetect',
    {
      what: 'POST: checks all nodes now and answers when it is known who is the primary; ?cluster=main',
      method: 'POST',
      answer: ({ redetect }, { query }) => redetect.answer(query),
    },
  ],
  [
    '/metrics',
    {
      what: 'Prometheus metrics',
      async answer({ metrics }, { accept }) {
        const { contentType, body } = await metrics.render(metricsFormat(accept));
        return { status: 200, contentType, body };
      },
    },
  ],
]);

const INDEX = [...DOORS].map(([path, { what }]) => `${path.padEnd(10)}${what}`).join('\n');

/** The answer for a request; 404 when there is no such door. Rejects when the data plane throws. */
export async function answerFor(asked: Asked, doors: Doors): Promise<Answer> {
  const door = DOORS.get(asked.path);
  const methods = door?.method === undefined ? ['GET', 'HEAD'] : [door.method];
  if (!methods.includes(asked.method))
    return { ...textAnswer(405, 'method not allowed'), allow: methods.join(', ') };
  if (door === undefined) return textAnswer(404, 'not found');
  try {
    return await door.answer(doors, asked);
  } catch (error) {
    if (error instanceof BadRequest) return jsonAnswer(error.status, { error: error.message });
    throw error;
  }
}
