import { setTimeout as sleep } from 'node:timers/promises';
import { topics } from '../../src/events/topics.ts';
import { signal } from '../support/process.ts';
import { actInDashboard } from './dashboard.ts';
import type { CallFaults } from './faults.ts';
import { forgeWebhooks } from './forge.ts';
import type { ChaosPlatform } from './platform.ts';
import type { FaultKind, PlannedFault } from './schedule.ts';
import type { Shop } from './shop.ts';

/** One thing at a time is killed, refused or started again: two at once would only wait for each other. */
function oneAtATime(): (work: () => Promise<void>) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return (work) => {
    const mine = last.then(work);
    last = mine.catch(() => undefined); // who asked for it is told
    return mine;
  };
}

/** Starts a part again; its port may be somebody else's for a moment. */
async function insist(start: () => Promise<void>): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      return await start();
    } catch (error) {
      if (tried === 50) throw error;
      await sleep(300);
    }
  }
}

const kept500 = { action: 'status', status: 500, saved: true, acts: true };

const stripeFaults: Partial<Record<FaultKind, Record<string, unknown>>> = {
  'stripe: 503': { action: 'status', status: 503, saved: false },
  'stripe: 500 that it keeps': { action: 'status', status: 500, saved: true },
  'stripe: 5xx after it acted': { action: 'status', status: 500, saved: true, acts: true },
  'stripe: 500 that it keeps, the charge is declined later': { ...kept500, decides: 'decline' },
  'stripe: 500 that it keeps, the charge succeeds later': { ...kept500, decides: 'succeed' },
  'stripe: answer and webhooks of one request lost': { action: 'drop', acts: true, loseEvents: true },
  'stripe: 429': { action: 'status', status: 429 },
  'stripe: never answers': { action: 'hang', ms: 9_000, acts: true },
  'stripe: connection dropped after it acted': { action: 'drop', acts: true },
  'stripe: late': { action: 'delay', ms: 2_000 },
};

/** Which requests a fault of Stripe's hits: all, or those that matter to it. */
function hits({ n, kind, share }: PlannedFault): Record<string, unknown> {
  if (kind.includes(', the charge ')) {
    // Some are decided while the load goes on, some only in peace.
    const decideMs = share < 0.5 ? Math.round(share * 10_000) : Math.round(share * 5 * 86_400_000);
    return { method: 'POST', path: '/v1/payment_intents', decideMs };
  }
  if (kind === 'stripe: answer and webhooks of one request lost') return { method: 'POST', path: '/v1/' };
  return { path: n % 3 === 0 ? '/v1/refunds' : '/v1/' };
}

/** Delivers events that our services had already, to all that consume them: twice, late, and in no order. */
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

/** Does what a schedule says, when it says so; everything is whole again when the returned function has resolved. */
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
  const doing = new Set<Promise<void>>();

  async function strike(fault: PlannedFault): Promise<void> {
    const { kind, forMs, size } = fault;
    const counted = (by = 1) => journal.count('faults', kind, by);
    const now = Date.now();
    const crons = (at: number) =>
      Promise.allSettled([platform.worker.cron('* * * * *', at), platform.worker.cron('* * * * *', at)]);
    switch (kind) {
      case 'database: connections refused':
        return database(async () => {
          counted();
          await platform.bridge.refuse();
          await sleep(forMs);
          await insist(platform.bridge.accept);
        });
      case 'database: Postgres killed (-9)':
        return database(() => {
          counted();
          return platform.crashPostgres(forMs / 2);
        });
      case 'database: a backend killed (-9)':
        return database(() => {
          counted();
          return killBackend(platform);
        });
      case 'worker: killed (-9)':
        return worker(async () => {
          counted();
          await platform.worker.kill();
          await sleep(forMs / 2);
          await insist(platform.worker.start);
        });
      case 'queues: messages again':
      case 'queues: old messages, in any order':
        counted(await redeliver(platform, fault, kind === 'queues: messages again'));
        return;
      case 'webhooks: forged':
        return forgeWebhooks(shop, fault.n, size);
      case 'crons: two at once':
      case 'crons: two at once, minutes ahead':
        counted();
        await crons(kind === 'crons: two at once' ? now : now + 310_000);
        return;
      default:
        break;
    }
    const stripe = stripeFaults[kind];
    if (stripe !== undefined) {
      const times = Math.ceil(size / 6);
      counted(times);
      await platform.emulator('POST', 'faults', { ...stripe, times, ...hits(fault) });
      return;
    }
    if (kind.startsWith('dashboard: ')) return actInDashboard(platform, journal, fault);
    faults.on(fault);
    await sleep(forMs, undefined, { signal: stop.signal }).catch(() => undefined);
    faults.off(fault);
  }

  async function play(): Promise<void> {
    const started = Date.now();
    for (const fault of schedule) {
      const wait = started + fault.at - Date.now();
      if (wait > 0) await sleep(wait, undefined, { signal: stop.signal }).catch(() => undefined);
      if (stop.signal.aborted) return;
      journal.note('fault', `${fault.kind} (no. ${fault.n})`, { forMs: fault.forMs });
      journal.count('planned', fault.kind);
      const work: Promise<void> = strike(fault)
        .catch((error: Error) => journal.count('faults that did not come off', `${fault.kind}: ${error.message}`))
        .finally(() => doing.delete(work));
      doing.add(work);
    }
  }

  const playing = play();
  return async () => {
    stop.abort();
    await playing;
    while (doing.size > 0) await Promise.all(doing);
    faults.clear();
    await platform.emulator('DELETE', 'faults');
    await platform.emulator('POST', 'webhooks', { lose: 0, duplicate: 0, reorder: 0 });
  };
}
