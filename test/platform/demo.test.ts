import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findDifferences, type OrderMoney, type StockUnits } from '../../dev/demo/audit.ts';
import { createBuyers, stories } from '../../dev/demo/buyers.ts';
import { resetData } from '../../dev/platform/data-folder.ts';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { findFreePort } from '../../dev/support/process.ts';

const root = join(import.meta.dirname, '..', '..');
let dir: string;
let environment: NodeJS.ProcessEnv;
let platform: ChildProcess;

/** Runs a script of dev/ and resolves with its exit code and output. */
async function run(name: string, args: string[], env: NodeJS.ProcessEnv = environment) {
  const child = spawn(process.execPath, [join(root, 'dev', name), ...args], { env });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (printed += chunk));
  const [code] = await once(child, 'close');
  return { code, printed };
}

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fusion-demo-'));
  environment = { PATH: process.env.PATH, HOME: process.env.HOME, DATA_DIR: dir } as unknown as NodeJS.ProcessEnv;
  for (const name of ['PORT', 'POSTGRES_PORT', 'NEON_PORT', 'KAFKA_PORT', 'STRIPE_PORT', 'VIES_PORT', 'OIDC_PORT']) {
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

test('a day in the shop ends without differences in money, stock and events, although webhooks are lost and duplicated', {
  timeout: 180_000,
}, async () => {
  const { code, printed } = await run(join('demo', 'main.ts'), ['--orders', '20', '--seed', '20261122']);
  expect([code, printed]).toEqual([0, expect.stringContaining('all money, stock and events agree')]);
  for (const scene of ['Opening', 'Payments', 'Lost', 'Returns', 'Parcels', 'Holds', 'Audit']) {
    expect(printed).toContain(scene);
  }
  expect(printed).toMatch(/[1-9]\d* delivered, with tracking updates duplicated and out of order/);
  expect((await webhooks()).faults).toMatchObject({ lose: 0, duplicate: 0, reorder: 0, delayMs: 0 });
});

test('a demo that is stopped halfway turns its webhook faults off', async () => {
  const child = spawn(process.execPath, [join(root, 'dev', 'demo', 'main.ts'), '--orders', '200'], {
    env: environment,
  });
  while ((await webhooks()).faults.lose === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  expect(code).toBe(130);
  expect((await webhooks()).faults).toMatchObject({ lose: 0, duplicate: 0, reorder: 0, delayMs: 0 });
});

test('without a running platform the demo says how to start one', async () => {
  const { code, printed } = await run(join('demo', 'main.ts'), ['--url', `http://127.0.0.1:${await findFreePort()}`]);
  expect([code, printed]).toEqual([1, expect.stringContaining('npm start')]);
});

test('the help of the demo lists every option', async () => {
  const { code, printed } = await run(join('demo', 'main.ts'), ['--help']);
  expect(code).toBe(0);
  for (const option of ['orders', 'seed', 'url', 'stripe-url', 'database-url', 'key']) {
    expect(printed).toContain(`--${option} `);
  }
});

test('even a short run of the demo has every story', () => {
  const planned = createBuyers(Object.keys(stories).length, mulberry32(1)).map((buyer) => buyer.story);
  expect(new Set(planned)).toEqual(new Set(Object.keys(stories)));
});

test('the audit of the demo finds differences in money, stock and events', () => {
  const order: OrderMoney = {
    id: 'o1',
    status: 'confirmed',
    currency: 'EUR',
    expected: 2500,
    database: { captured: 3000, refunded: 500 },
    stripe: { captured: 3000, refunded: 500 },
  };
  const stock: StockUnits = { sku: 'TEA', added: 10, free: 5, held: 2, sold: 3, reserved: 2 };
  expect(findDifferences([order], [stock], 0, 0)).toEqual([]);
  const differences = (money: OrderMoney, units = stock, undelivered = 0, deadLetters = 0) =>
    findDifferences([money], [units], undelivered, deadLetters).length;
  expect(differences({ ...order, expected: 3000 })).toBe(1);
  expect(differences({ ...order, database: { captured: 3000, refunded: 0 } })).toBe(1);
  expect(differences({ ...order, stripe: { captured: 0, refunded: 0 } })).toBe(3);
  expect(differences({ ...order, status: 'cancelled', expected: 0 })).toBe(1);
  expect(differences(order, { ...stock, sold: 4 })).toBe(1);
  expect(differences(order, { ...stock, reserved: 3 })).toBe(1);
  expect(differences(order, stock, 1)).toBe(1);
  expect(differences(order, stock, 0, 1)).toBe(1);
});
