import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from '../../dev/platform/settings.ts';
import { Progress } from '../../dev/support/progress.ts';
import { startFixture } from '../fixture/fixture.ts';
import { withTable } from '../growth/docs.ts';
import type { Bench, Case, Turn } from './case.ts';
import { cases, withLimits } from './cases.ts';
import { cartCases } from './cases-carts.ts';
import { rejectedCases } from './cases-refused.ts';
import { replayCase } from './cases-replay.ts';
import { markdownOf } from './docs.ts';
import { type Sample, summarise } from './figures.ts';
import type { Loaded, LoadJob } from './job.ts';
import type { LimitJob } from './limit-child.ts';
import { makeLimitTables } from './limit-tables.ts';
import { startLoader } from './load.ts';
import { describeMachine } from './machine.ts';
import { countStatements, measure } from './measure.ts';
import { type BenchOptions, help, readBenchOptions } from './options.ts';
import { chartOf } from './result-chart.ts';
import { seedShop } from './seed.ts';
import { seedCartShop } from './seed-carts.ts';
import { formatFigure, resultLines, targetLines } from './table.ts';
import { type CaseResult, targetsOf } from './targets.ts';

const allCases = [...cases, ...cartCases, ...rejectedCases, replayCase];
const folder = join(repository, 'bench', 'results');

async function runRounds(bench: Bench, chosen: readonly Case[], options: BenchOptions, progress: Progress) {
  const samples = new Map<string, Sample[]>(chosen.map(({ name }) => [name, []]));
  let seed = Math.floor(Date.now() / 1000) % 1_000_000_000;
  for (let round = 0; round <= options.rounds; round++) {
    progress.say(round === 0 ? '\nWarm-up' : `\nRound ${round} of ${options.rounds}`);
    for (const benchCase of chosen) {
      // The warm-up round is not counted: V8 compiles the code and PostgreSQL plans the statements in it.
      const seconds = round === 0 ? Math.min(options.seconds, 3) : options.seconds;
      await progress.step(
        benchCase.title.padEnd(48),
        async () => {
          const turn: Turn = { clients: options.clients, for: { seconds }, seed: seed++, warmUp: round === 0 };
          const sample = await measure(bench, benchCase, turn);
          bench.rates.set(benchCase.name, sample.requests / sample.seconds);
          if (round > 0) samples.get(benchCase.name)?.push(sample);
          return sample;
        },
        ({ requests, seconds: took, p50 }) =>
          `${formatFigure(requests / took).padStart(7)}/s  p50 ${formatFigure(p50)} ms`,
      );
    }
  }
  return samples;
}

async function run(options: BenchOptions): Promise<void> {
  const progress = new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true);
  const chosen = withLimits(allCases, options.cases).filter(
    ({ name }) => name !== 'replay' || options.file !== undefined,
  );
  if (options.file === undefined)
    progress.say('The case "replay" is skipped because no file of orders is given (--file).');
  progress.say('Starting the store, each part in its own process');
  const fixture = await startFixture({ progress, workers: { bare: join(import.meta.dirname, 'limit-worker.ts') } });
  const load = startLoader<LoadJob, Loaded>('child.ts');
  const limit = startLoader<LimitJob, Loaded>('./limit-child.ts');
  try {
    await makeLimitTables(fixture.pool);
    const shop = await progress.step('Shop', () => seedShop(fixture));
    const cartShop = await progress.step('Shop with carts', () => seedCartShop(fixture));
    const bench: Bench = { fixture, shop, cartShop, load, limit, file: options.file, rates: new Map() };
    const statements = await progress.step('Statements', () => countStatements(bench, chosen, 1));
    const samples = await runRounds(bench, chosen, options, progress);
    const results: CaseResult[] = chosen.map(({ name, title, against }) => ({
      ...{ name, title, against },
      statements: statements.get(name) ?? null,
      ...summarise(samples.get(name) ?? []),
    }));
    const targets = targetsOf(results);
    const machine = await describeMachine(fixture.pool);
    const lines = ['', ...resultLines(results), '', ...targetLines(targets), ''];
    for (const line of lines) progress.say(line);
    if (!options.save) return;
    await mkdir(folder, { recursive: true });
    const now = new Date().toISOString();
    const file = `${now.slice(0, 16).replaceAll(':', '')}.json`;
    const { rounds, seconds, clients } = options;
    const content = { at: now, machine, options: { rounds, seconds, clients }, results, targets };
    await writeFile(join(folder, file), `${JSON.stringify(content, null, 2)}\n`);
    if (options.docs) {
      const page = join(repository, 'docs', 'performance.md');
      await writeFile(page, withTable(await readFile(page, 'utf8'), markdownOf(content, file), 'bench'));
    }
    if (options.cases.length === 0) await writeFile(join(folder, 'bench.svg'), chartOf(results, machine, now));
    progress.say(`Results are written to ${join(folder, file)}`);
  } finally {
    load.stop();
    limit.stop();
    await fixture.stop();
  }
}

try {
  const options = readBenchOptions(
    process.argv.slice(2),
    allCases.map(({ name }) => name),
  );
  if (options) await run(options);
  else console.log(help(allCases));
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
