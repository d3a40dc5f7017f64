import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { resetData } from '../../dev/platform/data-folder.ts';
import { describeProcess, findFreePort, isGoneWithin, run } from '../../dev/support/process.ts';

const script = join(import.meta.dirname, '..', '..', 'dev', 'start.ts');
const portNames = ['PORT', 'POSTGRES_PORT', 'NEON_PORT', 'KAFKA_PORT', 'STRIPE_PORT', 'VIES_PORT', 'OIDC_PORT'];
let dir: string;
let ports: Record<string, string>;
let running: Start | undefined;

type Start = { child: ChildProcess; printed: () => string; ended: Promise<number | null> };

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fusion-start-'));
  const found = await Promise.all(portNames.map(() => findFreePort()));
  ports = Object.fromEntries(portNames.map((name, i) => [name, String(found[i])]));
});

afterEach(async () => {
  running?.child.kill('SIGINT');
  await running?.ended;
  running = undefined;
});

afterAll(async () => {
  await resetData(dir);
  await rm(dir, { recursive: true });
});

/** Runs `npm start` without npm, with the ports and the data folder of this test. */
function start(args: string[] = [], variables: Record<string, string> = {}): Start {
  const child = spawn(process.execPath, [script, ...args], {
    env: {
      ...{ PATH: process.env.PATH, HOME: process.env.HOME, ...ports, DATA_DIR: dir },
      ...variables,
    } as unknown as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (printed += chunk));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  running = { child, printed: () => printed, ended };
  return running;
}

async function untilReady(start: Start): Promise<void> {
  const ready = Promise.withResolvers<void>();
  start.child.stdout?.on('data', () => {
    if (start.printed().includes('Place an order')) ready.resolve();
  });
  void start.ended.then((code) => ready.reject(new Error(`ended with ${code}:\n${start.printed()}`)));
  await ready.promise;
}

/** The command line of each descendant of a process, by process id. */
async function findDescendants(pid: number): Promise<Map<number, string>> {
  const pids =
    process.platform === 'linux'
      ? (await readdir('/proc')).map(Number).filter(Number.isInteger)
      : (await run('ps', ['-axo', 'pid='])).output.split('\n').map(Number);
  const all = new Map<number, { parent: number; command: string }>();
  for (const candidate of pids) {
    const found = await describeProcess(candidate);
    if (found) all.set(candidate, found);
  }
  const descendants = new Map<number, string>();
  const visit = (parent: number): void => {
    for (const [child, { command }] of [...all].filter(([, found]) => found.parent === parent)) {
      descendants.set(child, command);
      visit(child);
    }
  };
  visit(pid);
  return descendants;
}

async function expectGone(descendants: Map<number, string>): Promise<void> {
  for (const pid of descendants.keys()) await isGoneWithin(pid, 5_000);
  const left = await Promise.all([...descendants.keys()].map((pid) => describeProcess(pid)));
  expect(left.filter((found) => found !== null && [...descendants.values()].includes(found.command))).toEqual([]);
}

/** The process that runs this part. Throws if there is none, since a signal to process 0 would reach this process. */
function findPart(descendants: Map<number, string>, part: string): number {
  const found = [...descendants].find(([, command]) => command.includes(part) && !command.includes('watchdog'));
  if (found === undefined) throw new Error(`no process runs ${part}: ${[...descendants.values()].join('\n')}`);
  return found[0];
}

test('the printed command places an order, Ctrl-C leaves no process behind, and the next start finds the order and may add a cell', async () => {
  const first = start(['--quiet']);
  await untilReady(first);
  expect(first.printed()).toMatch(/Kafka REST .* emulator/);
  const descendants = await findDescendants(first.child.pid ?? 0);
  for (const part of ['bin/postgres', 'wrangler-dist/cli.js', 'bin/workerd']) findPart(descendants, part);
  const curl = /^curl .*$/m.exec(first.printed())?.[0] ?? '';
  const { output } = await run('/bin/sh', ['-c', curl]);
  const order = JSON.parse(output) as { id: string };
  expect(order).toMatchObject({ status: 'created', total: 29, reservation: { status: 'held' } });

  first.child.kill('SIGINT');
  expect(await first.ended).toBe(0);
  await expectGone(descendants);

  const second = start(['--quiet'], { CELLS: '2' });
  await untilReady(second);
  const response = await fetch(`http://127.0.0.1:${ports.PORT}/v1/orders/${order.id}`, {
    headers: { authorization: 'Bearer sk_dev_default' },
  });
  expect(await response.json()).toMatchObject({ id: order.id, total: 29 });
  // The second start has another cell, whose tenants have keys and orders of their own.
  const { output: inCell } = await run('/bin/sh', ['-c', curl.replace('sk_dev_default', 'sk_dev_c2_default')]);
  const { id } = JSON.parse(inCell) as { id: string };
  const statusWith = async (key: string) => {
    const headers = { authorization: `Bearer ${key}` };
    return (await fetch(`http://127.0.0.1:${ports.PORT}/v1/orders/${id}`, { headers })).status;
  };
  expect([await statusWith('sk_dev_c2_default'), await statusWith('sk_dev_default')]).toEqual([200, 404]);
  expect(second.printed()).toMatch(/Cell c2 .*fusion_c2 .*sk_dev_c2_default/);
}, 120_000);

test.each(['bin/postgres', 'wrangler-dist/cli.js', 'bin/workerd'])(
  'when %s is killed, all other processes end and the output names the part',
  async (part) => {
    const platform = start(['--quiet']);
    await untilReady(platform);
    const descendants = await findDescendants(platform.child.pid ?? 0);
    process.kill(findPart(descendants, part), 'SIGKILL');
    expect(await platform.ended).toBe(1);
    expect(platform.printed()).toMatch(part === 'bin/postgres' ? /PostgreSQL ended/ : /the Worker .* (ended|failed)/);
    await expectGone(descendants);
  },
  120_000,
);

test('when npm start is killed (SIGKILL), no process is left behind', async () => {
  const platform = start(['--quiet']);
  await untilReady(platform);
  const descendants = await findDescendants(platform.child.pid ?? 0);
  platform.child.kill('SIGKILL');
  await platform.ended;
  await expectGone(descendants);
}, 120_000);

test('SIGTERM during the start stops it at once and leaves no process behind', async () => {
  const platform = start();
  while (!platform.printed().includes('Stripe')) await once(platform.child.stdout ?? platform.child, 'data');
  const descendants = await findDescendants(platform.child.pid ?? 0);
  platform.child.kill('SIGTERM');
  expect(await platform.ended).toBe(0);
  expect(platform.printed()).not.toContain('Ready.');
  await expectGone(descendants);
}, 120_000);

test('if a port is in use, nothing starts and the error names the variable that changes the port', async () => {
  const other = createServer().listen(Number(ports.KAFKA_PORT), '127.0.0.1');
  await once(other, 'listening');
  const platform = start();
  expect(await platform.ended).toBe(1);
  expect(platform.printed()).toContain(`port ${ports.KAFKA_PORT} for Kafka REST is in use`);
  expect(platform.printed()).toContain('set KAFKA_PORT to another port');
  expect(platform.printed()).not.toContain('PostgreSQL');
  other.close();
});

test('a second start on the same data folder is rejected', async () => {
  const platform = start(['--quiet']);
  await untilReady(platform);
  const free = await Promise.all(portNames.map(() => findFreePort()));
  const before = ports;
  ports = Object.fromEntries(portNames.map((name, i) => [name, String(free[i])]));
  const second = start();
  expect(await second.ended).toBe(1);
  expect(second.printed()).toContain(`process ${platform.child.pid} already uses the data folder`);
  ports = before;
  running = platform;
  expect(await readFile(join(dir, 'owner'), 'utf8')).toBe(String(platform.child.pid));
}, 120_000);

test('--reset deletes the data of earlier starts', async () => {
  const platform = start(['--reset', '--quiet']);
  await untilReady(platform);
  const response = await fetch(`http://127.0.0.1:${ports.PORT}/v1/orders`, {
    headers: { authorization: 'Bearer sk_dev_default' },
  });
  expect(await response.json()).toMatchObject({ data: [] });
}, 120_000);
