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
  for (const scene of ['Opening', 'Payments', 'Lost', 'Returns', 'Parcels', 'Holds', 'Audit', 'Teams', 'Places']) {
    expect(printed).toContain(scene);
  }
  for (const status of ['successful', 'merged', 'expired']) expect(printed).toMatch(new RegExp(`${status} +[1-9]`));
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
  for (const option of ['orders', 'teams', 'seed', 'url', 'stripe-url', 'database-url', 'key']) {
    expect(printed).toContain(`--${option} `);
  }
});

/** Starts the example shop and waits for its first line. */
async function startShop(port: number) {
  const env = { ...environment, SHOP_PORT: String(port) };
  const child = spawn(process.execPath, [join(root, 'dev', 'demo', 'shop', 'main.ts')], { env });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, line: line.toString() };
}

test('the example shop is served beside the platform until Ctrl-C, and its key finds products, shipping and the code', async () => {
  const port = await findFreePort();
  const { child, line } = await startShop(port);
  expect(line).toContain(`http://127.0.0.1:${port}`);
  const page = await fetch(`http://127.0.0.1:${port}/`);
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('<main>')]);
  expect((await fetch(`http://127.0.0.1:${port}/main.ts`)).status).toBe(404);
  const { api, key } = (await (await fetch(`http://127.0.0.1:${port}/config.json`)).json()) as Record<string, string>;
  const response = await fetch(`${api}/v1/carts`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ items: [{ sku: 'MUG-01', quantity: 2 }] }),
  });
  const { id, token } = (await response.json()) as { id: string; token: string };
  const change = await fetch(`${api}/v1/carts/${id}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${key}`, 'cart-token': token, 'content-type': 'application/json' },
    body: JSON.stringify({
      shippingAddress: { line1: 'Elbchaussee 1', city: 'Hamburg', country: 'DE' },
      discountCodes: ['WELCOME10'],
    }),
  });
  expect(await change.json()).toMatchObject({
    totals: { subtotal: 29, discount: 2.9, tax: 4.17 },
    shippingOptions: [{ name: 'Standard' }, { name: 'Express' }],
  });

  const second = await run(join('demo', 'shop', 'main.ts'), [], { ...environment, SHOP_PORT: String(port) });
  expect([second.code, second.printed]).toEqual([1, expect.stringMatching(/^Port \d+ is in use: .*SHOP_PORT/)]);
  child.kill('SIGINT');
  expect(await once(child, 'close')).toEqual([0, null]);
});

test.each<[string, string[], Record<string, string>, string]>([
  ['no running platform', ['--url', 'http://127.0.0.1:1'], {}, 'npm start'],
  ['a secret key', ['--key', 'sk_dev_default'], {}, '--key must be a publishable key'],
  ['an unknown key', ['--key', 'pk_dev_nobody'], {}, '--key'],
  ['a wrong URL', ['--stripe-url', 'stripe'], {}, '--stripe-url must be a URL'],
  ['a wrong port', [], { SHOP_PORT: '0' }, 'SHOP_PORT=0 is not a port'],
])('the example shop says what to do about %s', async (_name, args, more, message) => {
  const { code, printed } = await run(join('demo', 'shop', 'main.ts'), args, { ...environment, ...more });
  expect([code, printed.trim().split('\n')]).toEqual([1, [expect.stringContaining(message)]]);
});

test('the help of the example shop lists every option and its port', async () => {
  const { code, printed } = await run(join('demo', 'shop', 'main.ts'), ['--help']);
  expect(code).toBe(0);
  for (const option of ['--url ', '--stripe-url ', '--key ', 'SHOP_PORT']) expect(printed).toContain(option);
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
