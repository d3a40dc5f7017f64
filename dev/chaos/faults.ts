import { setTimeout as sleep } from 'node:timers/promises';
import type { ChooseFault } from '../kafka/faults.ts';
import type { NeonBridgeOptions } from '../neon/bridge.ts';
import type { Journal } from './journal.ts';
import { seededRandom } from './random.ts';
import type { FaultKind, PlannedFault } from './schedule.ts';

/** The active faults of single calls. The Neon bridge and the Kafka emulator ask for each call whether it fails. */
export type CallFaults = {
  on: (fault: PlannedFault) => void;
  off: (fault: PlannedFault) => void;
  clear: () => void;
  neon: NonNullable<NeonBridgeOptions['fault']>;
  kafka: ChooseFault;
};

/** Creates the faults of single calls. The seed and the order of the calls decide which calls fail. */
export function callFaults(seed: number, journal: Journal): CallFaults {
  const random = seededRandom(seed, 'calls');
  const active = new Map<number, PlannedFault>();
  const pickFault = (prefix: string): FaultKind | undefined => {
    for (const { kind, share } of active.values()) {
      if (kind.startsWith(prefix) && random.chance(share)) {
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
      switch (pickFault('database:')) {
        case 'database: call dropped before it was sent':
          return { kind: 'lose-request' };
        case 'database: response dropped after the commit':
          return { kind: 'lose-response' };
        case 'database: response late':
          return { kind: 'hold-response', until: sleep(random.chance(0.15) ? 6_000 : random.int(200, 2_500)) };
        case 'database: response cut in the middle':
          return { kind: 'cut-response' };
        case 'database: 5xx':
          return { kind: 'status', status: random.pick([500, 502, 503, 504]) };
        default:
          return undefined;
      }
    },
    kafka({ records }) {
      if (records === undefined) return undefined;
      switch (pickFault('kafka:')) {
        case 'kafka: rejects everything':
          return { reject: { status: random.pick([429, 500, 503]) } };
        case 'kafka: accepts half of a request':
          return {
            rejectRecords: records.flatMap((_record, index) => (random.chance(0.5) ? [{ index, status: 503 }] : [])),
          };
        case 'kafka: accepts, and responds too late':
          return { responseDelayMs: 8_500 };
        case 'kafka: connection dropped before accepting':
          return { drop: 'before' };
        case 'kafka: connection dropped after accepting':
          return { drop: 'after' };
        default:
          return undefined;
      }
    },
  };
}
