import { seededRandom } from './random.ts';

/** Every kind of fault, and how often it occurs in one round of the schedule. */
const roundCounts = {
  'database: call dropped before it was sent': 2,
  'database: response dropped after the commit': 3,
  'database: response late': 2,
  'database: response cut in the middle': 2,
  'database: 5xx': 2,
  'database: connections refused': 1,
  'database: Postgres killed (-9)': 1,
  'database: backend killed (-9)': 1,
  'worker: killed (-9)': 1,
  'queues: recent messages delivered again': 2,
  'queues: old messages delivered in random order': 2,
  'kafka: rejects everything': 1,
  'kafka: accepts half of a request': 2,
  'kafka: accepts, and responds too late': 1,
  'kafka: connection dropped before accepting': 1,
  'kafka: connection dropped after accepting': 2,
  'stripe: 503': 1,
  'stripe: stored 500': 1,
  'stripe: stored 500 after the request was executed': 2,
  'stripe: stored 500, the charge is declined later': 2,
  'stripe: stored 500, the charge succeeds later': 2,
  'stripe: response and webhooks of a request lost': 2,
  'stripe: 429': 1,
  'stripe: no response': 1,
  'stripe: connection dropped after the request was executed': 2,
  'stripe: response late': 1,
  'dashboard: hold captured': 3,
  'dashboard: payment refunded': 2,
  'dashboard: intent cancelled': 2,
  'dashboard: amount or currency changed': 2,
  'dashboard: refund returned by the bank': 2,
  'dashboard: dispute opened or closed': 2,
  'webhooks: forged': 2,
  'crons: two at once': 3,
  'crons: two at once, five minutes ahead': 1,
} as const;

export type FaultKind = keyof typeof roundCounts;
export const faultKinds = Object.keys(roundCounts) as FaultKind[];

/** A fault of the schedule. `at`: milliseconds after the start of the load; `forMs`: its duration. */
export type PlannedFault = {
  n: number;
  at: number;
  kind: FaultKind;
  forMs: number;
  /** The share of calls that fail while it lasts, 0 to 1. */
  share: number;
  /** For a fault without duration: how many messages, requests or actions it affects. */
  size: number;
};

/**
 * Plans the faults of a seed at random times with a mean pause of `gapMs`, after a first second without faults. Every
 * kind occurs once before any kind repeats. A longer run of a seed begins with the schedule of a shorter one.
 */
export function planFaults(seed: number, lengthMs: number, gapMs = 700): PlannedFault[] {
  const random = seededRandom(seed, 'faults');
  const round = faultKinds.flatMap((kind) => Array.from({ length: roundCounts[kind] }, () => kind));
  const planned: PlannedFault[] = [];
  let remaining: FaultKind[] = [];
  for (let at = 1_000; ; ) {
    // The first round has each kind once, so that a short run has all of them.
    if (remaining.length === 0) remaining = random.shuffle(planned.length === 0 ? faultKinds : round);
    at += Math.round(gapMs * (0.4 + 1.2 * random.next()));
    if (at >= lengthMs) return planned;
    const kind = remaining.pop();
    if (kind === undefined) return planned;
    const forMs = random.int(300, 2_500);
    planned.push({ n: planned.length + 1, at, kind, forMs, share: 0.2 + 0.6 * random.next(), size: random.int(3, 30) });
  }
}
