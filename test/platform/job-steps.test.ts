import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { Budget } from '../../src/base/budget.ts';
import { Steps } from '../../src/base/steps.ts';
import { type Store, startStore } from '../support/harness.ts';

let store: Store;
let fails: (name: string) => boolean = () => false;
let called: string[] = [];
const neonFault: NonNullable<NeonBridgeOptions['fault']> = ({ statements }) => {
  const names = statements.flatMap(({ query }) => query.match(/\b(group_commerce|platform|orders)\.\w+/g) ?? []);
  called.push(...names);
  return names.some((name) => fails(name)) ? { kind: 'status', status: 500 } : undefined;
};
beforeAll(async () => {
  store = await startStore({ neonFault });
});
afterEach(() => {
  vi.useRealTimers();
  fails = () => false;
  called = [];
});
afterAll(() => store.close());

/** The functions of the steps of the job `campaigns`, in order. */
const campaignSteps = [
  'expire_campaigns',
  'end_teams',
  'cancel_teams',
  'end_campaigns_of_teams',
  'price_campaigns',
  'free_unsecured',
  'free_lost_places',
  'update_waiting',
  'release_batch',
  'release_teams',
  'settle_batch',
  'settle_teams',
].map((name) => `group_commerce.${name}`);
const purgeSteps = ['platform.purge', 'orders.purge_carts'];

const calledOf = (steps: string[]) => [...new Set(called)].filter((name) => steps.includes(name));
const outcomesOf = (job: string, at: Date) =>
  store
    .logs()
    .filter((line) => line.id === `${job} ${at.toISOString()}`)
    .map((line) => line.outcome);
let minutes = 0;
const nextMinute = () => new Date(Date.now() + 60_000 * ++minutes);

test.each([
  ...campaignSteps.map((failing) => ['* * * * *', 'campaigns', failing, campaignSteps] as const),
  ...purgeSteps.map((failing) => ['17 * * * *', 'purge', failing, purgeSteps] as const),
])('%s %s: an error in %s skips no later step, and the job has failed', async (expression, job, failing, steps) => {
  fails = (name) => name === failing;
  const at = nextMinute();
  await expect(store.cron(expression, at)).rejects.toThrow('the cron ended');
  expect(calledOf(steps)).toEqual(steps);
  expect(outcomesOf(job, at)).toEqual(['step_failed', 'failed']);
  called = [];
  fails = () => false;
  const next = nextMinute();
  await store.cron(expression, next);
  expect(calledOf(steps)).toEqual(steps);
  expect(outcomesOf(job, next)).toEqual(['ok']);
});

test('the later steps are left out while the database is unavailable', async () => {
  fails = (name) => name.startsWith('group_commerce.') || name === 'platform.health';
  const at = nextMinute();
  await expect(store.cron('* * * * *', at)).rejects.toThrow('the cron ended');
  expect(calledOf(campaignSteps)).toEqual(campaignSteps.slice(0, 1));
  expect(outcomesOf('campaigns', at)).toEqual(['step_failed', 'failed']);
});

test('a step leaves a part of the calls and of the time to the later ones, and a failing step leaves all of the time', async () => {
  vi.useFakeTimers();
  const reported: string[] = [];
  const steps = new Steps(new Budget({ seconds: 8, calls: 8 }), async (step) => reported.push(step) > 1);
  const spendAll = async (left: Budget) => {
    let calls = 0;
    while (left.spend()) calls++;
    return calls;
  };
  const waitForTimeout = async () => {
    vi.advanceTimersByTime(9_000);
    throw new Error('timeout');
  };
  expect(await steps.run('first', spendAll, -1)).toBe(6);
  expect(await steps.run('slow', waitForTimeout, -1)).toBe(-1);
  expect(await steps.run('second', spendAll, -1)).toBe(1);
  expect(await steps.run('third', spendAll, -1)).toBe(1);
  expect(await steps.run('fourth', spendAll, -1)).toBe(0);
  expect(await steps.run('slow again', waitForTimeout, -1)).toBe(-1);
  expect(await steps.run('left out', spendAll, -1)).toBe(-1);
  expect(reported).toEqual(['slow', 'slow again']);
  expect(() => steps.end()).toThrow('timeout');
});
