import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { removeData } from '../../dev/postgres/place.ts';
import { startPostgres } from '../../dev/postgres/server.ts';
import { describeProcess, isGoneWithin } from '../../dev/support/process.ts';

const server = join(import.meta.dirname, '..', 'fixtures', 'postgres-server.ts');
let folder: string;
let dir: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fusion-postgres-'));
  await chmod(folder, 0o755); // so that root's PostgreSQL user reaches it, too
  dir = join(folder, 'data');
});

afterAll(async () => {
  await removeData(dir);
  await rm(folder, { recursive: true });
});

const start = () => startPostgres({ dir, port: 0, durable: false });

/** PostgreSQL, started by a separate process that the caller can kill. */
async function startElsewhere(): Promise<{ owner: ChildProcess; pid: number }> {
  const owner = spawn(process.execPath, [server, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(owner.stdout, 'data')) as [Buffer];
  return { owner, pid: Number(line) };
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** The shell that ends the server when its owner dies. */
async function watchdogOf(pid: number): Promise<number> {
  for (let candidate = pid + 1; candidate < pid + 200; candidate++) {
    const found = await describeProcess(candidate);
    if (found?.command.includes(`watchdog ${pid} `)) return candidate;
  }
  throw new Error(`no watchdog of ${pid}`);
}

test('the server listens on 127.0.0.1 only, needs a password, and keeps its data between starts', async () => {
  const first = await start();
  const client = new pg.Client({ connectionString: first.url('postgres') });
  await client.connect();
  const { rows } = await client.query(`select current_setting('listen_addresses') as host,
    current_setting('unix_socket_directories') as sockets, current_setting('TimeZone') as zone`);
  expect(rows).toEqual([{ host: '127.0.0.1', sockets: '', zone: 'UTC' }]);
  await client.query('create table kept ()');
  await client.end();
  const stranger = new pg.Client({ connectionString: first.url('postgres').replace(/:[0-9a-f]+@/, ':postgres@') });
  await expect(stranger.connect()).rejects.toMatchObject({ code: '28P01' });
  await first.stop();
  expect(await first.exited).toBe('ended with code 0');
  expect(await describeProcess(first.pid)).toBeNull();

  const second = await start();
  const again = new pg.Client({ connectionString: second.url('postgres') });
  await again.connect();
  expect((await again.query(`select to_regclass('kept')::text as kept`)).rows).toEqual([{ kept: 'kept' }]);
  await again.end();
  await second.stop();
});

test('the server ends when the process that started it is killed', async () => {
  const { owner, pid } = await startElsewhere();
  expect(await describeProcess(pid)).not.toBeNull();
  await kill(owner);
  expect(await isGoneWithin(pid, 20_000)).toBe(true);
});

test('a second start on the same data is rejected and names the running process', async () => {
  const { owner, pid } = await startElsewhere();
  await expect(start()).rejects.toThrow(`(process ${pid}) already uses`);
  await kill(owner);
  await isGoneWithin(pid, 20_000);
});

test('an orphaned server is ended by the next start', async () => {
  const { owner, pid } = await startElsewhere();
  process.kill(await watchdogOf(pid), 'SIGKILL');
  await kill(owner);
  await sleep(100);
  expect(await describeProcess(pid)).not.toBeNull();
  const next = await start();
  expect(await describeProcess(pid)).toBeNull();
  await next.stop();
});

test('a crash does not prevent the next start, even if another program has the old process id', async () => {
  const first = await start();
  process.kill(first.pid, 'SIGKILL');
  expect(await first.exited).toBe('ended with SIGKILL');
  const lock = join(first.dir, 'data', 'postmaster.pid');
  const lines = (await readFile(lock, 'utf8')).split('\n');
  await writeFile(lock, [process.pid, ...lines.slice(1)].join('\n'));
  const next = await start();
  await next.stop();
});

test('a port in use is rejected', async () => {
  const first = await start();
  const other = startPostgres({ dir: join(folder, 'other'), port: first.port, durable: false });
  await expect(other).rejects.toThrow(`port ${first.port} is in use`);
  await first.stop();
});

test('a folder with other files in it is rejected and left unchanged', async () => {
  const mine = join(folder, 'mine');
  await mkdir(mine, { mode: 0o755 });
  await writeFile(join(mine, 'thesis.txt'), 'do not touch');
  await expect(startPostgres({ dir: mine, port: 0, durable: false })).rejects.toThrow('contains files');
  expect(await readdir(mine)).toEqual(['thesis.txt']);
});

test('the server runs from a folder of mode 700, also as root, and leaves nothing when it is removed', async () => {
  const home = join(folder, 'home');
  await mkdir(home, { mode: 0o700 });
  const server = await startPostgres({ dir: join(home, 'data'), port: 0, durable: false });
  await access(join(server.dir, 'data', 'PG_VERSION'));
  await server.remove();
  await expect(access(server.dir)).rejects.toThrow('ENOENT');
  await expect(access(join(home, 'data'))).rejects.toThrow('ENOENT');
});
