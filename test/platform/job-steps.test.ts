import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import type { NeonBridgeOptions } from '../../dev/neon/bridge.ts';
import { Budget } from '../../src/base/budget.ts';
import { Steps } from '../../src/base/steps.ts';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';

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

test('readers see the stock that earlier steps have freed before the database became unavailable', async () => {
  const fixture = campaignFixture(store);
  const campaign = await fixture.start('FREED', 5);
  expect((await fixture.join(campaign.id, 'user-1')).status).toBe(201);
  const read = () => store.send('GET', `/v1/products/${campaign.productId}`);
  await until(async () => (await read()).headers.get('cache-status') === 'fusioncommerce; hit');
  expect((await read()).body.inventory).toBe(4);
  fails = (name) => name === 'group_commerce.release_teams' || name === 'platform.health';
  const at = new Date(Date.parse(campaign.endTime) + 60_000 * ++minutes);
  await expect(store.cron('* * * * *', at)).rejects.toThrow('the cron ended');
  expect(calledOf(campaignSteps)).toEqual(campaignSteps.slice(0, 10));
  expect(await fixture.stockOf('FREED')).toEqual({ quantity: 5, reserved: 0 });
  expect((await read()).body.inventory).toBe(5);
});

const never = async () => false;
const spendAll = async (left: Budget) => {
  let calls = 0;
  while (left.spend()) calls++;
  return calls;
};
const failAfter = (seconds: number) => async () => {
  vi.advanceTimersByTime(seconds * 1000);
  throw new Error('timeout');
};

test.each([
  { calls: 100, count: 13, used: [40, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5] },
  { calls: 200, count: 2, used: [190, 10] },
  { calls: 30, count: 4, used: [27, 1, 1, 1] },
  { calls: 100, count: 30, used: [...Array<number>(10).fill(4), ...Array<number>(20).fill(3)] },
  { calls: 3, count: 5, used: [1, 1, 1, 0, 0] },
])('of $calls calls, $count steps that use all they get use $used', async ({ calls, count, used }) => {
  const steps = new Steps(new Budget({ seconds: 10, calls }), count, never);
  const results: number[] = [];
  for (let step = 0; step < count; step++) results.push(await steps.run('step', spendAll, -1));
  expect(results).toEqual(used);
});

test('a step may use the calls and the time that earlier ones have left', async () => {
  vi.useFakeTimers();
  const steps = new Steps(new Budget({ seconds: 10, calls: 100 }), 13, never);
  const parts: number[][] = [];
  const useSome = (seconds: number) => async (left: Budget) => {
    parts.push([left.calls, Math.round(left.seconds * 1000)]);
    left.spend();
    vi.advanceTimersByTime(seconds * 1000);
  };
  for (const seconds of [0, 4, 1, 3]) await steps.run('step', useSome(seconds), undefined);
  expect(parts).toEqual([
    [40, 4_000],
    [44, 4_500],
    [48, 1_000],
    [52, 500],
  ]);
});

test('steps that exceed their time get all of it again, twice a job', async () => {
  vi.useFakeTimers();
  const steps = new Steps(new Budget({ seconds: 10, calls: 100 }), 9, never);
  const seconds: number[] = [];
  const noteTime = async (left: Budget) => void seconds.push(Math.round(left.seconds * 1000));
  for (const waited of [1, 10, 12, 10]) {
    await steps.run('slow', failAfter(waited), undefined);
    await steps.run('next', noteTime, undefined);
  }
  expect(seconds).toEqual([5_500, 7_500, 8_500, 0]);
  expect(await steps.run('last', spendAll, -1)).toBe(0);
});

test('a step that must always run does so once the others are left out, and the first error is thrown', async () => {
  vi.useFakeTimers();
  const reported: [string, number][] = [];
  const steps = new Steps(new Budget({ seconds: 8, calls: 8 }), 4, async (step, _error, durationMs) => {
    reported.push([step, durationMs]);
    return step === 'first';
  });
  expect(await steps.run('first', failAfter(3), -1)).toBe(-1);
  expect(await steps.run('left out', spendAll, -1)).toBe(-1);
  expect(await steps.runAlways('always', async () => Promise.reject(new Error('another')), -1)).toBe(-1);
  expect(await steps.run('still left out', spendAll, -1)).toBe(-1);
  expect(reported).toEqual([
    ['first', 3_000],
    ['always', 0],
  ]);
  expect(() => steps.end()).toThrow('timeout');
});
