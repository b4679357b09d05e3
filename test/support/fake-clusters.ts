/** Rows of ClusterControl for the tests of the console, the metrics and HTTP: sensible values, change what matters. */
import type {
  ClusterControl,
  ClusterRow,
  DecisionRow,
  LearnedRow,
  NodeRow,
  RouteRow,
  ShadowRow,
} from '../../src/control/cluster-port.ts';

export function nodeRow(name: string, values: Partial<NodeRow> = {}): NodeRow {
  return {
    cluster: 'main',
    name,
    host: '10.0.0.1',
    port: 5432,
    zone: '',
    state: 'replica',
    weight: 1,
    share: 0.5,
    readOnly: values.state !== 'primary',
    timeline: 1,
    systemId: '7000',
    writtenLsn: '0/3000060',
    replayedLsn: '0/3000060',
    lagMs: 0,
    lagBytes: 0,
    streaming: values.state !== 'primary',
    upstream: '',
    syncState: '',
    override: '',
    banned: false,
    sinceAt: 0,
    lastCheckAt: 0,
    lastError: '',
    lastErrorAt: 0,
    slowChecks: 0,
    reads: 0,
    writes: 0,
    inFlight: 0,
    serviceUs: 0,
    nextRead: false,
    ...values,
  };
}

export function clusterRow(name: string, values: Partial<ClusterRow> = {}): ClusterRow {
  return {
    name,
    primary: 'pg1',
    timeline: 1,
    systemId: '7000',
    nodes: 2,
    eligible: 1,
    noPrimarySinceAt: 0,
    held: 0,
    samples: 0,
    readConsistency: 'session',
    balance: 'weighted',
    ...values,
  };
}

/** A ClusterControl of plain data that gives no commands but REDETECT. */
export class FakeClusters implements ClusterControl {
  nodeRows: NodeRow[] = [];
  clusterRows: ClusterRow[] = [];
  learnedRows: LearnedRow[] = [];
  shadowRows: ShadowRow[] = [];
  decisionRows: DecisionRow[] = [];
  /** What REDETECT was asked for, in order. */
  redetected: (string | null)[] = [];
  /** Ended by `finish`. */
  unfinished: (() => void)[] = [];
  cancelled = 0;

  nodes(): NodeRow[] {
    return this.nodeRows;
  }
  clusters(): ClusterRow[] {
    return this.clusterRows;
  }
  routes(): RouteRow[] {
    return [];
  }
  learned(): LearnedRow[] {
    return this.learnedRows;
  }
  shadow(): ShadowRow[] {
    return this.shadowRows;
  }
  decisions(): DecisionRow[] {
    return this.decisionRows;
  }
  explainRoute = refuse;
  detach = refuse;
  attach = refuse;
  drain = refuse;
  setWeight = refuse;
  redetect(cluster: string | null): { done: Promise<void>; cancel(): void } {
    this.redetected.push(cluster);
    const done = new Promise<void>((resolve) => {
      this.unfinished.push(resolve);
    });
    const cancel = (): void => {
      this.cancelled += 1;
    };
    return { done, cancel };
  }
  /** The answers of all checks under way are in. */
  finish(): void {
    for (const resolve of this.unfinished.splice(0)) resolve();
  }
}

function refuse(): never {
  throw new Error('metrics and HTTP give no commands');
}
