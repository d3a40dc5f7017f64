import { type ChildProcess, fork } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { repository } from '../../dev/platform/settings.ts';
import { Progress } from '../../dev/support/progress.ts';
import { addressLimit } from '../../src/http/limits.ts';
import { readProcesses } from '../fixture/cpu.ts';
import { type Fixture, startFixture } from '../fixture/fixture.ts';
import { withTable } from '../growth/docs.ts';
import { describeMachine } from '../load/machine.ts';
import type { NoiseCounts, NoiseJob, NoiseMessage } from './noise.ts';
import { help, type IsolationOptions, readIsolationOptions } from './options.ts';
import { accepted, answersOf, type Cpu, cpuText, markdownOf, type Phase, rowsOf, shareOf, textOf } from './report.ts';
import { addNoise, refuseBadRows, removeNoise } from './rows.ts';
import { type Seller, sellFor, send } from './sales.ts';

const limitSeconds = 10;
const product = { price: 10, currency: 'USD', inventory: 1_000_000 };

/** A random number from 0 to 1 from a seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function startNoise(job: NoiseJob): ChildProcess {
  const child = fork(join(import.meta.dirname, 'noise.ts'), { execArgv: ['--no-warnings'] });
  child.on('error', () => undefined);
  child.send({ job } satisfies NoiseMessage);
  return child;
}

async function stopNoise(child: ChildProcess): Promise<NoiseCounts> {
  const counts = new Promise<NoiseCounts>((resolve) => child.once('message', resolve));
  child.send({ on: false } satisfies NoiseMessage);
  return counts;
}

/** CPU in milliseconds of each part, and of the processes that send. */
async function cpuOf(fixture: Fixture, noise: ChildProcess): Promise<Cpu> {
  const rows = await readProcesses();
  const sender = (pid = 0): number => rows.find((row) => row.pid === pid)?.ms ?? 0;
  return { ...(await fixture.cpu()), sales: sender(process.pid), noise: sender(noise.pid) };
}

async function prepare(fixture: Fixture, options: IsolationOptions): Promise<{ seller: Seller; job: NoiseJob }> {
  const calm = {
    order: await fixture.createKey('calm'),
    payment: await fixture.createKey('calm'),
    refund: await fixture.createKey('calm'),
  };
  const keys = {
    flood: await fixture.createKey('noisy'),
    import: await fixture.createKey('noisy'),
    campaign: await fixture.createKey('noisy'),
  };
  await send(fixture, calm.order, 'POST', '/v1/products', { ...product, sku: 'CALM', name: 'Calm' });
  const noise = { ...product, sku: 'NOISE', name: 'Noise' };
  const { id: productId } = await send(fixture, keys.import, 'POST', '/v1/products', noise);
  const campaign = await send(fixture, keys.import, 'POST', '/v1/campaigns', {
    ...{ productId, minParticipants: 100_000, maxParticipants: 500_000, price: 5 },
    startTime: new Date(Date.now() - 60_000).toISOString(),
    endTime: new Date(Date.now() + 86_400_000).toISOString(),
  });
  await refuseBadRows(fixture);
  const job = { api: fixture.api, keys, campaignId: campaign.id, flood: options.flood, noises: options.noises };
  return { seller: { fixture, keys: calm, rate: options.rate }, job };
}

/**
 * Lets this process, which measures, go before all others: its own waits for a core are not the platform's. False where the
 * system permits that to root alone.
 */
function goFirst(): boolean {
  try {
    setPriority(-19);
    return true;
  } catch {
    return false;
  }
}

/** Runs the rounds. Each phase begins once the traces of the last one are gone. */
async function runRounds(fixture: Fixture, options: IsolationOptions, progress: Progress) {
  const { seller, job } = await prepare(fixture, options);
  const phases: Phase[] = [];
  const answers: NoiseCounts[] = [];
  const random = randomFrom(options.seed);
  const child = startNoise(job);
  const goesFirst = goFirst(); // after all other processes have started, since they would inherit it
  try {
    // With noise, so that every connection has made its plans before the first phase.
    await progress.step('Warm-up', async () => {
      child.send({ on: true } satisfies NoiseMessage);
      await sellFor(seller, 10);
      await stopNoise(child);
      await fixture.pool.query('analyze'); // as autovacuum does with tables that are older than a minute
      await sleep(6_000);
    });
    for (let round = 1; round <= options.rounds; round++) {
      const first = random() < 0.5;
      for (const noisy of [first, !first]) {
        const label = `Round ${round} ${noisy ? 'noisy' : 'quiet'}`;
        const measure = async (): Promise<Phase> => {
          if (noisy) await addNoise(fixture, round, options.noises);
          if (noisy) child.send({ on: true } satisfies NoiseMessage);
          const [before, start] = [await cpuOf(fixture, child), performance.now()];
          const times = await sellFor(seller, options.seconds);
          const cpu = shareOf(before, await cpuOf(fixture, child), performance.now() - start);
          if (noisy) {
            answers.push(await stopNoise(child));
            await sleep(500);
            await removeNoise(fixture);
          }
          return { noisy, times, cpu };
        };
        const describe = (phase: Phase): string =>
          rowsOf([phase])
            .map(({ kind, p95 }) => `${kind} ${p95[noisy ? 1 : 0].toFixed(0)}`)
            .join('  ');
        phases.push(await progress.step(label, measure, (phase) => `p95 in ms: ${describe(phase)}`));
        await sleep(noisy ? 6_000 : 1_000);
      }
    }
  } finally {
    if (child.connected) child.disconnect();
  }
  return { phases, answers, goesFirst };
}

async function run(options: IsolationOptions, progress: Progress): Promise<void> {
  const key = Math.ceil(options.limit * limitSeconds);
  const fixture = await startFixture({ progress, limits: { key, address: addressLimit.requests } });
  try {
    const { phases, answers, goesFirst } = await runRounds(fixture, options, progress);
    const machine = await describeMachine(fixture.pool);
    const rows = rowsOf(phases);
    const failed = phases.flatMap(({ noisy, times }) =>
      times.failed.map((why) => `${noisy ? 'noisy' : 'quiet'}: ${why}`),
    );
    const facts = [
      `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC, commit ${machine.commit}, ${machine.cores} cores, Node ${machine.versions.node}, PostgreSQL ${machine.postgres}.`,
      `${options.rounds} rounds of two phases of ${options.seconds} s, ${options.rate} sales a second, seed ${options.seed}.`,
      `Noise: ${options.noises.join(', ')}. Limit of a key: ${key} requests in 10 s. Limit of an address: ${addressLimit.requests} in 10 s.`,
      `Answers to the noise: ${answersOf(answers).join('; ')}.`,
      `The process that makes the sales ${goesFirst ? 'goes before all others' : 'waits for a core like all others: only root may let it go first'}.`,
      `CPU in percent of one core, quiet and noisy: ${cpuText(phases)}.`,
      `Sales of the calm tenant that failed: ${failed.length}.`,
    ];
    console.log(`\n${textOf(rows)}\n\n${facts.map((fact) => `  ${fact}`).join('\n')}`);
    for (const why of failed.slice(0, 5)) console.log(`  ${why}`);
    if (options.write) {
      const path = join(repository, 'docs/performance.md');
      const text = `${facts.map((fact) => `- ${fact}`).join('\n')}\n\n${markdownOf(rows)}`;
      await writeFile(path, withTable(await readFile(path, 'utf8'), text, 'isolation'));
    }
    if (failed.length > 0 || rows.some(({ ratio }) => !(ratio <= accepted))) process.exitCode = 1;
  } finally {
    await fixture.stop();
  }
}

try {
  const options = readIsolationOptions(process.argv.slice(2));
  if (options === null) console.log(help);
  else await run(options, new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
