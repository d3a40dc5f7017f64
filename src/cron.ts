import type { Context } from './context.ts';
import { openDatabase } from './db/client.ts';
import {
  expireCampaigns,
  freeLostPlaces,
  freeUnsecured,
  releaseCampaigns,
  settleCampaigns,
} from './domain/campaign-ends.ts';
import { decideForgotten } from './domain/inventory.ts';
import { remindLabels } from './domain/labels.ts';
import { expireHolds, failShortOrders } from './domain/orders.ts';
import { reconcilePayments, reconcileTold } from './domain/reconcile.ts';
import { forgetStock } from './edge.ts';
import { type Bindings, settingsOf } from './env.ts';
import { consumeKafka } from './kafka-bridge.ts';
import { describe, log } from './log.ts';
import { relayAll } from './relay.ts';

type Job = { name: string; run: (context: Context, env: Bindings, cause: string) => Promise<Record<string, number>> };

const expire: Job = {
  name: 'expire-holds',
  async run(context) {
    const { expired, changed } = await expireHolds(context);
    for (const { tenant, skus } of changed) await forgetStock(tenant, skus);
    return { expired };
  },
};

const decide: Job = {
  name: 'decide-forgotten',
  async run(context) {
    const { decided, tenants } = await decideForgotten(context);
    for (const { tenant, skus, refused } of tenants) {
      await forgetStock(tenant, skus);
      const messages = refused.map((orderId) => ({ eventId: `forgotten-${orderId}`, orderId }));
      if (messages.length > 0) await failShortOrders(context, tenant, messages);
    }
    return { decided };
  },
};

const campaigns: Job = {
  name: 'campaigns',
  async run(context) {
    const expired = await expireCampaigns(context);
    const { freed, changed } = await freeUnsecured(context);
    const lost = await freeLostPlaces(context);
    const ended = await releaseCampaigns(context);
    for (const { tenant, skus } of [...changed, ...lost.changed, ...ended.changed]) await forgetStock(tenant, skus);
    return { expired, freed: freed + lost.freed, released: ended.released, ordered: await settleCampaigns(context) };
  },
};

const reconcile: Job = {
  name: 'reconcile-payments',
  async run(context) {
    const { changed, ...counts } = await reconcilePayments(context);
    for (const { tenant, skus } of changed) await forgetStock(tenant, skus);
    return counts;
  },
};

const hear: Job = {
  name: 'reconcile-told',
  async run(context) {
    const { changed, ...counts } = await reconcileTold(context);
    for (const { tenant, skus } of changed) await forgetStock(tenant, skus);
    return counts;
  },
};

const remind: Job = {
  name: 'remind-labels',
  run: (context) => remindLabels(context),
};

const deliver: Job = {
  name: 'relay',
  run: async (_context, env, cause) => ({ delivered: await relayAll(env, cause) }),
};

const consume: Job = {
  name: 'consume-kafka',
  run: async (context, env) => (context.settings.KAFKA_CONSUME.length > 0 ? consumeKafka(context, env) : {}),
};

const purge: Job = {
  name: 'purge',
  async run(context) {
    let purged = 0;
    for (let gone = -1; gone !== 0; purged += gone) {
      ({ purged: gone } = await context.db.run<{ purged: number }>('platform.purge', context.call, { limit: 5_000 }));
    }
    return { purged };
  },
};

/** What runs when, by the cron expressions of wrangler.toml. */
const schedule: Record<string, Job[]> = {
  '* * * * *': [expire, decide, campaigns, reconcile, remind, deliver, consume],
  '17 * * * *': [hear, purge],
};

/**
 * The Worker's cron entry. The clock of its jobs is the time for which they were scheduled. Each job runs whatever
 * becomes of the others; two runs at once do nothing twice.
 */
export async function runJobs(controller: ScheduledController, env: Bindings): Promise<void> {
  const settings = settingsOf(env);
  const now = new Date(controller.scheduledTime);
  const failures: unknown[] = [];
  for (const job of schedule[controller.cron] ?? []) {
    const started = Date.now();
    const db = openDatabase(settings);
    const context: Context = { db, settings, call: { now: now.toISOString() }, now: () => now };
    const line = { kind: 'job' as const, id: `${job.name} ${now.toISOString()}`, tenant: null };
    try {
      const counts = await job.run(context, env, line.id);
      log({ ...line, outcome: 'ok', durationMs: Date.now() - started, dbCalls: db.spent.calls, ...counts });
    } catch (error) {
      failures.push(error);
      log({
        ...line,
        outcome: 'failed',
        durationMs: Date.now() - started,
        dbCalls: db.spent.calls,
        ...describe(error),
      });
    }
  }
  // Cloudflare counts a cron whose promise rejects as failed: that is what an alert is set on.
  if (failures.length > 0) throw failures[0];
}
