import { Budget, budgetOf, type jobBudgets } from './base/budget.ts';
import { cellAttribute, defaultCell } from './base/cells.ts';
import { ApiError } from './base/errors.ts';
import { describeError, log } from './base/log.ts';
import { Steps } from './base/steps.ts';
import type { Context } from './context.ts';
import { openDatabase } from './db/client.ts';
import { expireCarts } from './domain/carts/carts.ts';
import type { ChangedStock } from './domain/group-commerce/batches.ts';
import {
  expireCampaigns,
  freeLostPlaces,
  freeUnsecured,
  priceCampaigns,
  releaseCampaigns,
  settleCampaigns,
} from './domain/group-commerce/settlement.ts';
import {
  cancelTeams,
  endCampaignsOfTeams,
  endTeams,
  releaseTeams,
  settleTeams,
} from './domain/group-commerce/team-settlement.ts';
import { updateWaitingLists } from './domain/group-commerce/waiting.ts';
import { decideOverdueHolds } from './domain/inventory.ts';
import { remindLabels } from './domain/labels.ts';
import { expireHolds, failShortOrders } from './domain/orders/orders.ts';
import { reconcilePayments } from './domain/reconcile.ts';
import { applyMissedEventsOfAccounts, recheckEventsOfAccounts } from './domain/stripe/account-events.ts';
import { applyMissedEvents, noteFailedRow, recheckRecentEvents } from './domain/stripe/events.ts';
import { requestLostVatChecks } from './domain/tax/vat-checks.ts';
import { voidLabels } from './domain/voids.ts';
import { type Bindings, settingsOf } from './env.ts';
import { consumeKafka } from './events/external-events.ts';
import { isDatabaseAvailable } from './events/message.ts';
import { relayAll } from './events/relay.ts';
import { invalidateProducts } from './http/edge-cache.ts';

type Counts = Record<string, number>;
type Job = {
  name: keyof typeof jobBudgets;
  run: (context: Context, env: Bindings, cause: string, budget: Budget) => Promise<Counts>;
};

/** Invalidates cached products, once for each tenant however many batches have changed its stock. */
async function invalidateAll(context: Context, changed: { tenant: string; skus: string[] }[]): Promise<void> {
  for (const [tenant, parts] of Map.groupBy(changed, ({ tenant: tenantId }) => tenantId)) {
    await invalidateProducts(
      context,
      tenant,
      parts.flatMap(({ skus }) => skus),
    );
  }
}

/**
 * The steps of a job. The error of each is logged. While the database is unavailable, the later steps are left out: each
 * would only wait for its timeout.
 */
const stepsOf = (context: Context, cause: string, budget: Budget, count: number) =>
  new Steps(budget, count, async (step, error, durationMs) => {
    const line = { kind: 'job' as const, id: cause, tenant: null, cell: cellAttribute(context.db.cell), step };
    log({ ...line, outcome: 'step_failed', durationMs, dbCalls: context.db.usage.calls, ...describeError(error) });
    return error instanceof ApiError && error.code === 'unavailable' && !(await isDatabaseAvailable(context));
  });

const expireHoldsJob: Job = {
  name: 'expire-holds',
  async run(context, _env, _cause, budget) {
    const { expired, changed } = await expireHolds(context, budget);
    await invalidateAll(context, changed);
    return { expired };
  },
};

const expireCartsJob: Job = {
  name: 'expire-carts',
  run: async (context, _env, _cause, budget) => ({ expired: await expireCarts(context, budget) }),
};

const decideHoldsJob: Job = {
  name: 'decide-forgotten',
  async run(context, _env, _cause, budget) {
    const { decided, changed, refused } = await decideOverdueHolds(context, budget);
    await invalidateAll(context, changed);
    let failed = 0;
    for (const [tenant, orders] of refused) {
      for (const orderId of orders) {
        if (!budget.spend()) break;
        try {
          await failShortOrders(context, tenant, [{ eventId: `forgotten-${orderId}`, orderId }]);
        } catch (error) {
          if (error instanceof ApiError && error.code === 'unavailable') throw error;
          failed++;
          await noteFailedRow(context, { job: 'decide-forgotten', tenant, key: orderId }, error);
        }
      }
    }
    return { decided, ...(failed > 0 && { setAside: failed }) };
  },
};

const campaignsJob: Job = {
  name: 'campaigns',
  async run(context, _env, cause, budget) {
    const steps = stepsOf(context, cause, budget, 13);
    const none: { freed: number; released: number; changed: ChangedStock } = { freed: 0, released: 0, changed: [] };
    const expired = await steps.run('expire', (left) => expireCampaigns(context, left), 0);
    // However many teams are due, time remains for the others: a call that merges teams takes up to a second.
    const ended = await steps.run('end-teams', (left) => endTeams(context, left.part(40, 4)), 0);
    const cancelled = await steps.run('cancel-teams', (left) => cancelTeams(context, {}, left.part(20, 2)), 0);
    const endedCampaigns = await steps.run('end-campaigns', (left) => endCampaignsOfTeams(context, left), 0);
    const priced = await steps.run('price', (left) => priceCampaigns(context, left), 0);
    const unsecured = await steps.run('free-unsecured', (left) => freeUnsecured(context, left), none);
    const lost = await steps.run('free-lost', (left) => freeLostPlaces(context, left), none);
    const waiting = await steps.run('waiting-lists', (left) => updateWaitingLists(context, left), 0);
    const released = await steps.run('release', (left) => releaseCampaigns(context, {}, left), none);
    const teams = await steps.run('release-teams', (left) => releaseTeams(context, {}, left), none);
    const ordered = await steps.run('settle', (left) => settleCampaigns(context, {}, left), 0);
    const settledTeams = await steps.run('settle-teams', (left) => settleTeams(context, {}, left), 0);
    // Runs even if the database is unavailable: otherwise readers see old stock until the cache expires.
    const changed = [...unsecured.changed, ...lost.changed, ...released.changed, ...teams.changed];
    await steps.runAlways('invalidate', () => invalidateAll(context, changed), undefined);
    steps.end();
    return {
      ...{ expired: expired + endedCampaigns, priced, freed: unsecured.freed + lost.freed, waiting },
      ...{ released: released.released, ordered, endedTeams: ended + cancelled, settledTeams },
      ...{ releasedTeams: teams.released },
    };
  },
};

const reconcileJob: Job = {
  name: 'reconcile-payments',
  async run(context, _env, _cause, budget) {
    const { changed, ...counts } = await reconcilePayments(context, budget);
    await invalidateAll(context, changed);
    return counts;
  },
};

const stripeEventsJob: Job = {
  name: 'hear-stripe',
  async run(context, _env, _cause, budget) {
    const { changed, ...counts } = await applyMissedEvents(context, budget);
    await invalidateAll(context, changed);
    return counts;
  },
};

const accountEventsJob: Job = {
  name: 'hear-accounts',
  async run(context, _env, _cause, budget) {
    const { changed, ...counts } = await applyMissedEventsOfAccounts(context, budget);
    await invalidateAll(context, changed);
    return counts;
  },
};

const recheckEventsJob: Job = {
  name: 'reconcile-told',
  async run(context, _env, _cause, budget) {
    const { changed, ...counts } = await recheckRecentEvents(context, budget);
    await invalidateAll(context, changed);
    return counts;
  },
};

const recheckAccountsJob: Job = {
  name: 'recheck-accounts',
  async run(context, _env, _cause, budget) {
    const { changed, ...counts } = await recheckEventsOfAccounts(context, budget);
    await invalidateAll(context, changed);
    return counts;
  },
};

const remindLabelsJob: Job = {
  name: 'remind-labels',
  run: (context) => remindLabels(context),
};

const checkVatJob: Job = {
  name: 'check-vat',
  run: (context) => requestLostVatChecks(context),
};

const voidLabelsJob: Job = {
  name: 'void-labels',
  run: (context) => voidLabels(context),
};

const relayJob: Job = {
  name: 'relay',
  run: async ({ db }, env, cause) => ({ delivered: await relayAll(env, db.cell, cause) }),
};

const consumeKafkaJob: Job = {
  name: 'consume-kafka',
  run: async (context, env) => (context.settings.KAFKA_CONSUME.length > 0 ? consumeKafka(context, env) : {}),
};

const purgeJob: Job = {
  name: 'purge',
  async run(context, _env, cause, budget) {
    const functions = ['platform.purge', 'orders.purge_carts'] as const;
    const steps = stepsOf(context, cause, budget, functions.length);
    let purged = 0;
    for (const name of functions) {
      const purge = async (left: Budget) => {
        for (let deleted = -1; deleted !== 0 && left.spend(); purged += deleted) {
          ({ purged: deleted } = await context.db.run<{ purged: number }>(name, context.call, { limit: 5_000 }));
        }
      };
      await steps.run(name, purge, undefined);
    }
    steps.end();
    return { purged };
  },
};

/**
 * The jobs of each cron expression of wrangler.toml. `cell`: done in every cell, in order. Stripe's events are applied
 * before the holds that depend on them expire. `shared`: done once, for all cells. Every job has its own budget, so the
 * relay always gets to run.
 */
const schedule: Record<string, { cell: Job[]; shared: Job[] }> = {
  '* * * * *': {
    cell: [
      stripeEventsJob,
      accountEventsJob,
      reconcileJob,
      expireHoldsJob,
      decideHoldsJob,
      campaignsJob,
      remindLabelsJob,
      checkVatJob,
      voidLabelsJob,
      expireCartsJob,
      relayJob,
    ],
    shared: [consumeKafkaJob],
  },
  '17 * * * *': { cell: [recheckEventsJob, recheckAccountsJob, purgeJob], shared: [] },
};

/** Runs jobs of one cell, one after another. A failing job does not stop the others. @returns the failures */
async function runInCell(env: Bindings, jobs: Job[], cell: string, now: Date): Promise<unknown[]> {
  const settings = settingsOf(env);
  const failures: unknown[] = [];
  for (const job of jobs) {
    const started = Date.now();
    const db = openDatabase(settings.cells, cell);
    const context: Context = { db, settings, call: { now: now.toISOString() }, now: () => now };
    const line = {
      ...{ kind: 'job' as const, id: `${job.name} ${now.toISOString()}` },
      ...{ tenant: null, cell: cellAttribute(cell) },
    };
    try {
      const counts = await job.run(context, env, line.id, new Budget(budgetOf(job.name, settings.cells.size)));
      log({ ...line, outcome: 'ok', durationMs: Date.now() - started, dbCalls: db.usage.calls, ...counts });
    } catch (error) {
      failures.push(error);
      log({
        ...line,
        outcome: 'failed',
        durationMs: Date.now() - started,
        dbCalls: db.usage.calls,
        ...describeError(error),
      });
    }
  }
  return failures;
}

/**
 * The Worker's cron entry point. The clock of a job is the time for which it was scheduled. All cells are processed in
 * parallel, and a failing cell or job does not stop the others. Concurrent runs do no work twice.
 */
export async function runJobs(controller: ScheduledController, env: Bindings): Promise<void> {
  const { cells } = settingsOf(env);
  const now = new Date(controller.scheduledTime);
  const { cell: cellJobs, shared } = schedule[controller.cron] ?? { cell: [], shared: [] };
  const failures = await Promise.all([
    ...[...cells.keys()].map((cell) => runInCell(env, cellJobs, cell, now)),
    runInCell(env, shared, defaultCell, now),
  ]);
  // If this throws, Cloudflare reports the cron run as failed, which triggers alerts.
  const [failure] = failures.flat();
  if (failure !== undefined) throw failure;
}
