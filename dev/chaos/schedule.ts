import { drawOf } from './random.ts';

/** Everything that can be made to go wrong, and how often each is dealt. */
const deck = {
  'database: call dropped before it was sent': 2,
  'database: answer dropped after the commit': 3,
  'database: answered late': 2,
  'database: answer cut in the middle': 2,
  'database: 5xx': 2,
  'database: connections refused': 1,
  'database: Postgres killed (-9)': 1,
  'database: a backend killed (-9)': 1,
  'worker: killed (-9)': 1,
  'queues: messages again': 2,
  'queues: old messages, in any order': 2,
  'kafka: refuses everything': 1,
  'kafka: accepts half': 2,
  'kafka: accepts, and answers too late': 1,
  'kafka: connection dropped before it accepts': 1,
  'kafka: connection dropped after it accepted': 2,
  'stripe: 503': 1,
  'stripe: 500 that it keeps': 1,
  'stripe: 5xx after it acted': 2,
  'stripe: 500 that it keeps, the charge is declined later': 2,
  'stripe: 500 that it keeps, the charge succeeds later': 2,
  'stripe: answer and webhooks of one request lost': 2,
  'stripe: 429': 1,
  'stripe: never answers': 1,
  'stripe: connection dropped after it acted': 2,
  'stripe: late': 1,
  'dashboard: hold captured': 3,
  'dashboard: payment refunded': 2,
  'dashboard: intent cancelled': 2,
  'dashboard: amount or currency changed': 2,
  'dashboard: refund sent back by the bank': 2,
  'dashboard: payment disputed, or a dispute closed': 2,
  'webhooks: forged': 2,
  'crons: two at once': 3,
  'crons: two at once, minutes ahead': 1,
} as const;

export type FaultKind = keyof typeof deck;
export const faultKinds = Object.keys(deck) as FaultKind[];

/** A fault of the schedule: `at` and `forMs` in milliseconds, from the beginning of the load. */
export type PlannedFault = {
  n: number;
  at: number;
  kind: FaultKind;
  forMs: number;
  /** Which part of the calls it hits while it lasts, 0..1. */
  share: number;
  /** How many of a thing, where it is one blow. */
  size: number;
};

/**
 * The schedule of a seed: every kind is dealt before one comes again, at random times about so far apart. The first
 * seconds are left in peace, and the same seed gives the same schedule, a longer run a longer one.
 */
export function scheduleOf(seed: number, lengthMs: number, gapMs = 700): PlannedFault[] {
  const draw = drawOf(seed, 'faults');
  const cards = faultKinds.flatMap((kind) => Array.from({ length: deck[kind] }, () => kind));
  const dealt: PlannedFault[] = [];
  let pile: FaultKind[] = [];
  for (let at = 1_000; ; ) {
    // Each kind once first, so that a short run has them all.
    if (pile.length === 0) pile = draw.shuffle(dealt.length === 0 ? faultKinds : cards);
    at += Math.round(gapMs * (0.4 + 1.2 * draw.next()));
    if (at >= lengthMs) return dealt;
    const kind = pile.pop();
    if (kind === undefined) return dealt;
    const forMs = draw.int(300, 2_500);
    dealt.push({ n: dealt.length + 1, at, kind, forMs, share: 0.2 + 0.6 * draw.next(), size: draw.int(3, 30) });
  }
}
