import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { differencesOf, type OrderFacts, type StockFacts } from '../../dev/demo/audit.ts';
import { castBuyers, stories } from '../../dev/demo/buyers.ts';
import { resetData } from '../../dev/platform/data-folder.ts';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { findFreePort } from '../../dev/support/process.ts';

const root = join(import.meta.dirname, '..', '..');
let dir: string;
let environment: NodeJS.ProcessEnv;
let platform: ChildProcess;

/** Runs a script of dev/ to its end. */
async function run(name: string, args: string[], more: NodeJS.ProcessEnv = environment) {
  const child = spawn(process.execPath, [join(root, 'dev', name), ...args], { env: more });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (printed += chunk));
  const [code] = await once(child, 'close');
  return { code, printed };
}

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fusion-demo-'));
  environment = { PATH: process.env.PATH, HOME: process.env.HOME, DATA_DIR: dir } as unknown as NodeJS.ProcessEnv;
  for (const name of ['PORT', 'POSTGRES_PORT', 'NEON_PORT', 'KAFKA_PORT', 'STRIPE_PORT']) {
    environment[name] = String(await findFreePort());
  }
  platform = spawn(process.execPath, [join(root, 'dev', 'start.ts'), '--quiet'], { env: environment });
  const ready = Promise.withResolvers<void>();
  let printed = '';
  for (const stream of [platform.stdout, platform.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      printed += chunk;
      if (printed.includes('Ready.')) ready.resolve();
    });
  }
  platform.on('exit', () => ready.reject(new Error(printed)));
  await ready.promise;
});

afterAll(async () => {
  if (platform.exitCode === null) {
    platform.kill('SIGINT');
    await once(platform, 'exit');
  }
  await resetData(dir);
  await rm(dir, { recursive: true });
});

const webhooks = async () =>
  (await (await fetch(`http://127.0.0.1:${environment.STRIPE_PORT}/_emulator/webhooks`)).json()) as {
    faults: Record<string, number>;
  };

test('a day in the shop ends with books that agree, whatever becomes of the webhooks', {
  timeout: 180_000,
}, async () => {
  const { code, printed } = await run(join('demo', 'main.ts'), ['--orders', '20', '--seed', '20261122']);
  expect([code, printed]).toEqual([0, expect.stringContaining('the books agree')]);
  for (const scene of ['Opening', 'Paying', 'Lost', 'Regrets', 'Parcels', 'Holds', 'Audit']) {
    expect(printed).toContain(scene);
  }
  expect(printed).toMatch(/[1-9]\d* delivered, told twice and backwards/);
  expect((await webhooks()).faults).toMatchObject({ lose: 0, duplicate: 0, reorder: 0, delayMs: 0 });
});

test('a day that is ended in the middle leaves no webhook fault behind', async () => {
  const child = spawn(process.execPath, [join(root, 'dev', 'demo', 'main.ts'), '--orders', '200'], {
    env: environment,
  });
  while ((await webhooks()).faults.lose === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  expect(code).toBe(130);
  expect((await webhooks()).faults).toMatchObject({ lose: 0, duplicate: 0, reorder: 0, delayMs: 0 });
});

test('without a platform the demo says how to start one', async () => {
  const { code, printed } = await run(join('demo', 'main.ts'), ['--url', `http://127.0.0.1:${await findFreePort()}`]);
  expect([code, printed]).toEqual([1, expect.stringContaining('npm start')]);
});

test('its help tells every option', async () => {
  const { code, printed } = await run(join('demo', 'main.ts'), ['--help']);
  expect(code).toBe(0);
  for (const option of ['orders', 'seed', 'url', 'stripe-url', 'database-url', 'key']) {
    expect(printed).toContain(`--${option} `);
  }
});

test('even a small day has every story', () => {
  const cast = castBuyers(Object.keys(stories).length, mulberry32(1)).map((buyer) => buyer.story);
  expect(new Set(cast)).toEqual(new Set(Object.keys(stories)));
});

test('the audit finds money, stock and events that are not where they should be', () => {
  const order: OrderFacts = {
    id: 'o1',
    status: 'confirmed',
    currency: 'EUR',
    says: 2500,
    ours: { captured: 3000, refunded: 500 },
    theirs: { captured: 3000, refunded: 500 },
  };
  const stock: StockFacts = { sku: 'TEA', putIn: 10, free: 5, held: 2, sold: 3, reserved: 2 };
  expect(differencesOf([order], [stock], 0, 0)).toEqual([]);
  const off = (orders: OrderFacts, stocks = stock, undelivered = 0, dead = 0) =>
    differencesOf([orders], [stocks], undelivered, dead).length;
  expect(off({ ...order, says: 3000 })).toBe(1);
  expect(off({ ...order, ours: { captured: 3000, refunded: 0 } })).toBe(1);
  expect(off({ ...order, theirs: { captured: 0, refunded: 0 } })).toBe(3);
  expect(off({ ...order, status: 'cancelled', says: 0 })).toBe(1);
  expect(off(order, { ...stock, sold: 4 })).toBe(1);
  expect(off(order, { ...stock, reserved: 3 })).toBe(1);
  expect(off(order, stock, 1)).toBe(1);
  expect(off(order, stock, 0, 1)).toBe(1);
});
