import { setTimeout as sleep } from 'node:timers/promises';
import { topics } from '../../src/events/topics.ts';
import { signal } from '../support/process.ts';
import { actInDashboard } from './dashboard.ts';
import type { CallFaults } from './faults.ts';
import { forgeWebhooks } from './forge.ts';
import type { ChaosPlatform } from './platform.ts';
import type { FaultKind, PlannedFault } from './schedule.ts';
import type { Shop } from './shop.ts';

/**
 * Creates a queue that runs one job at a time. Two restarts of the same part at once would only wait for each other.
 */
function oneAtATime(): (work: () => Promise<void>) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined); // the caller gets the error
    return result;
  };
}

/** Starts a part again. Retries, since its port may be in use for a moment. */
async function restart(start: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (attempt === 50) throw error;
      await sleep(300);
    }
  }
}

/** `saved`: Stripe stores the response for the idempotency key. `acts`: it executes the request before the fault. */
const executedWithStored500 = { action: 'status', status: 500, saved: true, acts: true };

const stripeFaults: Partial<Record<FaultKind, Record<string, unknown>>> = {
  'stripe: 503': { action: 'status', status: 503, saved: false },
  'stripe: stored 500': { action: 'status', status: 500, saved: true },
  'stripe: stored 500 after the request was executed': { action: 'status', status: 500, saved: true, acts: true },
  'stripe: stored 500, the charge is declined later': { ...executedWithStored500, decides: 'decline' },
  'stripe: stored 500, the charge succeeds later': { ...executedWithStored500, decides: 'succeed' },
  'stripe: response and webhooks of a request lost': { action: 'drop', acts: true, loseEvents: true },
  'stripe: 429': { action: 'status', status: 429 },
  'stripe: no response': { action: 'hang', ms: 9_000, acts: true },
  'stripe: connection dropped after the request was executed': { action: 'drop', acts: true },
  'stripe: response late': { action: 'delay', ms: 2_000 },
};

/** The requests that a fault of Stripe hits. */
function requestFilter({ n, kind, share }: PlannedFault): Record<string, unknown> {
  if (kind.includes(', the charge ')) {
    // Some charges are decided during the load, others only after it.
    const decideMs = share < 0.5 ? Math.round(share * 10_000) : Math.round(share * 5 * 86_400_000);
    return { method: 'POST', path: '/v1/payment_intents', decideMs };
  }
  if (kind === 'stripe: response and webhooks of a request lost') return { method: 'POST', path: '/v1/' };
  return { path: n % 3 === 0 ? '/v1/refunds' : '/v1/' };
}

/** Delivers past events again to all their consumers, in random order. */
async function redeliver(platform: ChaosPlatform, { n, size }: PlannedFault, recent: boolean): Promise<number> {
  const consumed = Object.entries(topics).flatMap(([name, { consumers }]) => (consumers.length > 0 ? [name] : []));
  const rows = await platform.query<{ topic: string; message: unknown }>(
    `select e.topic, platform.envelope(e) as message from (
       select * from platform.events x where x.topic = any($1) order by x.seq desc limit $2
     ) e order by md5($3 || e.seq::text) limit $4`,
    [consumed, recent ? 60 : 100_000, `${n}-`, size],
  );
  const byQueue = new Map<string, unknown[]>();
  for (const { topic, message } of rows) {
    for (const service of topics[topic]?.consumers ?? []) {
      const queue = `${service.replaceAll('-', '_').toUpperCase()}_QUEUE`;
      byQueue.set(queue, [...(byQueue.get(queue) ?? []), message]);
    }
  }
  for (const [queue, messages] of byQueue) await platform.worker.enqueue(queue, messages);
  return rows.length;
}

async function killBackend(platform: ChaosPlatform): Promise<void> {
  const [backend] = await platform.query<{ pid: number }>(
    `select pid from pg_stat_activity where usename = 'fusion_worker' order by state, pid limit 1`,
  );
  if (backend) signal(backend.pid, 'SIGKILL');
}

/** Injects the faults of a schedule at their times. The returned function stops this and ends all faults. */
export function inject(
  platform: ChaosPlatform,
  shop: Shop,
  faults: CallFaults,
  schedule: PlannedFault[],
): () => Promise<void> {
  const stop = new AbortController();
  const { journal } = shop;
  const database = oneAtATime();
  const worker = oneAtATime();
  const inProgress = new Set<Promise<void>>();

  async function injectFault(fault: PlannedFault): Promise<void> {
    const { kind, forMs, size } = fault;
    const countFault = (by = 1) => journal.count('faults', kind, by);
    const now = Date.now();
    const runTwoCrons = (time: number) =>
      Promise.allSettled([platform.worker.cron('* * * * *', time), platform.worker.cron('* * * * *', time)]);
    switch (kind) {
      case 'database: connections refused':
        return database(async () => {
          countFault();
          await platform.bridge.refuse();
          await sleep(forMs);
          await restart(platform.bridge.accept);
        });
      case 'database: Postgres killed (-9)':
        return database(() => {
          countFault();
          return platform.crashPostgres(forMs / 2);
        });
      case 'database: backend killed (-9)':
        return database(() => {
          countFault();
          return killBackend(platform);
        });
      case 'worker: killed (-9)':
        return worker(async () => {
          countFault();
          await platform.worker.kill();
          await sleep(forMs / 2);
          await restart(platform.worker.start);
        });
      case 'queues: recent messages delivered again':
      case 'queues: old messages delivered in random order':
        countFault(await redeliver(platform, fault, kind === 'queues: recent messages delivered again'));
        return;
      case 'webhooks: forged':
        return forgeWebhooks(shop, fault.n, size);
      case 'crons: two at once':
      case 'crons: two at once, five minutes ahead':
        countFault();
        await runTwoCrons(kind === 'crons: two at once' ? now : now + 310_000);
        return;
      default:
        break;
    }
    const stripe = stripeFaults[kind];
    if (stripe !== undefined) {
      const times = Math.ceil(size / 6);
      countFault(times);
      await platform.emulator('POST', 'faults', { ...stripe, times, ...requestFilter(fault) });
      return;
    }
    if (kind.startsWith('dashboard: ')) return actInDashboard(platform, journal, fault);
    faults.on(fault);
    await sleep(forMs, undefined, { signal: stop.signal }).catch(() => undefined);
    faults.off(fault);
  }

  async function playSchedule(): Promise<void> {
    const started = Date.now();
    for (const fault of schedule) {
      const wait = started + fault.at - Date.now();
      if (wait > 0) await sleep(wait, undefined, { signal: stop.signal }).catch(() => undefined);
      if (stop.signal.aborted) return;
      journal.addIncident('fault', `${fault.kind} (no. ${fault.n})`, { forMs: fault.forMs });
      journal.count('planned', fault.kind);
      const work: Promise<void> = injectFault(fault)
        .catch((error: Error) => journal.count('faults that could not be injected', `${fault.kind}: ${error.message}`))
        .finally(() => inProgress.delete(work));
      inProgress.add(work);
    }
  }

  const playing = playSchedule();
  return async () => {
    stop.abort();
    await playing;
    while (inProgress.size > 0) await Promise.all(inProgress);
    faults.clear();
    await platform.emulator('DELETE', 'faults');
    await platform.emulator('POST', 'webhooks', { lose: 0, duplicate: 0, reorder: 0 });
  };
}
