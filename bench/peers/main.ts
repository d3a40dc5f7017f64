import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { repository } from '../../dev/platform/settings.ts';
import { findFreePort } from '../../dev/support/process.ts';
import { Progress } from '../../dev/support/progress.ts';
import { readProcesses, sumTree } from '../fixture/cpu.ts';
import { type Fixture, startFixture } from '../fixture/fixture.ts';
import { measureSingleCheckouts } from './alone.ts';
import {
  type ContainerUsage,
  containerCosts,
  marginalContainerCosts,
  marginalCosts,
  type OrderUsage,
  ourCosts,
  printCosts,
} from './costs.ts';
import { installPeer, type PeerName } from './install.ts';
import { type Observer, runRace, runRound } from './load.ts';
import { startMedusa } from './medusa.ts';
import { help, type PeersOptions, peersOf, readPeersOptions } from './options.ts';
import { openOurShop } from './ours.ts';
import type { Program } from './process.ts';
import { describeMachine, format, printReport, summarise } from './report.ts';
import type { Measured, Round, System } from './system.ts';
import { startVendure } from './vendure.ts';

const start = { vendure: startVendure, medusa: startMedusa };

/** Creates a database for a peer, owned by a role that is not a superuser, so that its statements can be counted. */
async function makeDatabase(pool: pg.Pool, fixture: Fixture, name: PeerName): Promise<string> {
  await pool.query(`create role ${name} login password '${name}'`);
  await pool.query(`create database ${name} owner ${name}`);
  return `postgres://${name}:${name}@127.0.0.1:${fixture.postgres.port}/${name}`;
}

async function startSystems(fixture: Fixture, options: PeersOptions, run: Run): Promise<System[]> {
  const { progress, started, stops } = run;
  const systems: System[] = [];
  const add = (system: System): void => {
    systems.push(system);
    stops.push(system.stop);
  };
  add(await progress.step('Our shop', () => openOurShop(fixture, run.version)));
  for (const name of peersOf(options)) {
    const dir = join(options.dir, name);
    const databaseUrl = await makeDatabase(fixture.pool, fixture, name);
    const port = await findFreePort();
    const peer = { dir, port, databaseUrl, pool: fixture.pool, started };
    add(
      await progress.step(
        name,
        () => start[name](peer),
        ({ version }) => `${version}, port ${port}`,
      ),
    );
  }
  return systems;
}

type Run = {
  progress: Progress;
  version: string;
  signal: AbortSignal;
  started: (program: Program) => void;
  stops: (() => Promise<void>)[];
};

function describeRound({ name }: System, { perSecond, checkouts, failures }: Round): string {
  const failed = Object.entries(failures).map(([reason, count]) => `; ${count} × ${reason}`);
  return `${name}: ${format(perSecond)} checkouts/s (${checkouts})${failed.join('')}`;
}

async function measure(systems: System[], observer: Observer, options: PeersOptions, run: Run): Promise<Measured[]> {
  const measured: Measured[] = systems.map(({ name, version }) => ({ name, version, rounds: [] }));
  const { clients, seconds, rounds, buyers } = options;
  for (const system of systems) {
    const warm = { clients, seconds: Math.min(10, seconds), minCheckouts: 1, seed: 1 };
    await run.progress.step(
      `warm-up`,
      () => runRound(system, observer, warm),
      (result) => describeRound(system, result),
    );
  }
  for (let round = 1; round <= rounds && !run.signal.aborted; round++) {
    for (const [index, system] of systems.entries()) {
      const result = await run.progress.step(
        `round ${round}`,
        () => runRound(system, observer, { clients, seconds, minCheckouts: 4, seed: 100 + round }),
        (result) => describeRound(system, result),
      );
      measured[index]?.rounds.push(result);
    }
  }
  for (const [index, system] of systems.entries()) {
    if (buyers === 0 || run.signal.aborted) break;
    const race = await run.progress.step(
      'race',
      () => runRace(system, observer, { clients, buyers, units: 100 }),
      ({ sold }) => `${system.name}: ${sold} sold`,
    );
    const result = measured[index];
    if (result) result.race = race;
  }
  return measured;
}

const million = 1_000_000;

/** The costs of a million orders in one month: ours, and those of each peer in containers. */
function reportCosts(usage: OrderUsage, measured: Measured[]) {
  const peers = measured.slice(1).map(summarise);
  const sheets = [
    { title: measured[0]?.name ?? '', lines: ourCosts(million, usage), marginal: marginalCosts(usage) },
    ...peers.map(({ name, serverCpuMs, postgresCpuMs, databaseBytes }) => {
      const containerUsage: ContainerUsage = { serverCpu: serverCpuMs, databaseCpu: postgresCpuMs, databaseBytes };
      return {
        title: name,
        lines: containerCosts(million, containerUsage),
        marginal: marginalContainerCosts(containerUsage),
      };
    }),
  ];
  const text = sheets.map(({ title, lines, marginal }) =>
    [
      printCosts(`${title}, a million orders in a month`, lines),
      `  by usage alone, without plan, allowances and smallest sizes: $${marginal.toFixed(2)}`,
    ].join('\n'),
  );
  return { usage, sheets, text: text.join('\n\n') };
}

async function save(
  measured: Measured[],
  costs: ReturnType<typeof reportCosts>,
  fixture: Fixture,
  options: PeersOptions,
): Promise<string> {
  const { rows } = await fixture.pool.query<{ server_version: string }>('show server_version');
  const { dir: _dir, save: _save, ...flags } = options;
  const result = {
    date: new Date().toISOString(),
    machine: describeMachine(),
    postgres: rows[0]?.server_version,
    options: flags,
    systems: measured.map(summarise),
    rounds: measured.map(({ name, rounds }) => ({ name, rounds })),
    alone: costs.usage,
    costs: costs.sheets,
  };
  const folder = join(repository, 'bench', 'results');
  await mkdir(folder, { recursive: true });
  const file = join(folder, `peers-${result.date.slice(0, 10)}.json`);
  await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
  return file;
}

async function main(options: PeersOptions): Promise<void> {
  const progress = new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true);
  const programs = new Set<Program>();
  const stopping = new AbortController();
  const started = (program: Program): void => {
    programs.add(program);
    void program.exited.then(() => programs.delete(program));
    if (stopping.signal.aborted) void program.stop();
  };
  // `on`, not `once`: npm forwards a Ctrl-C that this process has received already, and a second one must be handled
  // too.
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      stopping.abort();
      // Once the fixture has started, it stops its parts and then ends this process. Before that, this handler ends it.
      const ended = Promise.all([...programs].map((program) => program.stop()));
      if (!fixtureStarting) void ended.finally(() => process.exit(130));
    });
  }
  let fixtureStarting = false;
  const stops: (() => Promise<void>)[] = [];
  const { version } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as { version: string };
  const run: Run = { progress, version, signal: stopping.signal, started, stops };
  try {
    for (const name of peersOf(options)) {
      const describeInstall = ({ dir, fresh }: { dir: string; fresh: boolean }) =>
        `${dir}${fresh ? '' : ', already installed'}`;
      await progress.step(`npm install`, () => installPeer(options.dir, name, started), describeInstall);
    }
    fixtureStarting = true;
    const fixture = await startFixture({ progress });
    stops.push(fixture.stop);
    const systems = await startSystems(fixture, options, run);
    const postgresCpu = async () => sumTree(await readProcesses(), fixture.postgres.pid);
    const observer = { pool: fixture.pool, postgresCpu, signal: stopping.signal };
    const measured = await measure(systems, observer, options, run);
    const [ours] = systems;
    if (ours === undefined || stopping.signal.aborted) return;
    const usage = await progress.step(
      'alone',
      () => measureSingleCheckouts(fixture, ours, 100, stopping.signal),
      () => `${ours.name}: 100 checkouts, one at a time`,
    );
    const costs = reportCosts(usage, measured);
    console.log(`\n${printReport(measured.map(summarise))}\n\n${costs.text}`);
    if (options.save) console.log(`\n${await save(measured, costs, fixture, options)}`);
  } catch (error) {
    // Errors are expected while everything is being stopped.
    if (!stopping.signal.aborted) throw error;
  } finally {
    for (const stop of stops.toReversed()) await stop().catch((error: Error) => progress.say(error.message));
    await Promise.all([...programs].map((program) => program.stop()));
    if (stopping.signal.aborted) process.exitCode = 130;
  }
}

try {
  const options = readPeersOptions(process.argv.slice(2), process.env);
  if (options === null) console.log(help);
  else await main(options);
  process.exit();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
