import { setTimeout as sleep } from 'node:timers/promises';
import type { ChooseFault } from '../kafka/faults.ts';
import type { NeonBridgeOptions } from '../neon/bridge.ts';
import type { Journal } from './journal.ts';
import { drawOf } from './random.ts';
import type { FaultKind, PlannedFault } from './schedule.ts';

/** Which faults of single calls are on: asked by the bridge and by Kafka for each call. */
export type CallFaults = {
  on: (fault: PlannedFault) => void;
  off: (fault: PlannedFault) => void;
  clear: () => void;
  neon: NonNullable<NeonBridgeOptions['fault']>;
  kafka: ChooseFault;
};

/** The faults of single calls; which calls they hit is drawn from the seed, by the order in which the calls come. */
export function callFaults(seed: number, journal: Journal): CallFaults {
  const draw = drawOf(seed, 'calls');
  const active = new Map<number, PlannedFault>();
  const hit = (prefix: string): FaultKind | undefined => {
    for (const { kind, share } of active.values()) {
      if (kind.startsWith(prefix) && draw.chance(share)) {
        journal.count('faults', kind);
        return kind;
      }
    }
    return undefined;
  };
  return {
    on: (fault) => active.set(fault.n, fault),
    off: (fault) => active.delete(fault.n),
    clear: () => active.clear(),
    neon() {
      switch (hit('database:')) {
        case 'database: call dropped before it was sent':
          return { kind: 'lose-request' };
        case 'database: answer dropped after the commit':
          return { kind: 'lose-answer' };
        case 'database: answered late':
          return { kind: 'hold-answer', until: sleep(draw.chance(0.15) ? 6_000 : draw.int(200, 2_500)) };
        case 'database: answer cut in the middle':
          return { kind: 'cut-answer' };
        case 'database: 5xx':
          return { kind: 'status', status: draw.pick([500, 502, 503, 504]) };
        default:
          return undefined;
      }
    },
    kafka({ records }) {
      if (records === undefined) return undefined;
      switch (hit('kafka:')) {
        case 'kafka: refuses everything':
          return { reject: { status: draw.pick([429, 500, 503]) } };
        case 'kafka: accepts half':
          return {
            rejectRecords: records.flatMap((_record, index) => (draw.chance(0.5) ? [{ index, status: 503 }] : [])),
          };
        case 'kafka: accepts, and answers too late':
          return { answerDelayMs: 8_500 };
        case 'kafka: connection dropped before it accepts':
          return { drop: 'before' };
        case 'kafka: connection dropped after it accepted':
          return { drop: 'after' };
        default:
          return undefined;
      }
    },
  };
}
