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
import {
  acceptedRatio,
  type Cpu,
  cpuText,
  describeResponses,
  markdownOf,
  type Phase,
  rowsOf,
  shareOf,
  textOf,
} from './report.ts';
import { addNoise, rejectBadRows, removeNoise } from './rows.ts';
import { type Seller, sellFor, send } from './sales.ts';

const limitSeconds = 10;
const product = { price: 10, currency: 'USD', inventory: 1_000_000 };

/** A seeded generator of random numbers from 0 to 1 (mulberry32). */
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

/** CPU time in ms of each part, and of the two processes that send requests. */
async function cpuOf(fixture: Fixture, noise: ChildProcess): Promise<Cpu> {
  const rows = await readProcesses();
  const cpuOfProcess = (pid = 0): number => rows.find((row) => row.pid === pid)?.ms ?? 0;
  return { ...(await fixture.cpu()), sales: cpuOfProcess(process.pid), noise: cpuOfProcess(noise.pid) };
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
  await rejectBadRows(fixture);
  const job = { api: fixture.api, keys, campaignId: campaign.id, flood: options.flood, noises: options.noises };
  return { seller: { fixture, keys: calm, rate: options.rate }, job };
}

/**
 * Gives this process, which measures, a higher priority than all others, so that its own waits for a core are not
 * measured. Returns false if the system allows that only to root.
 */
function raisePriority(): boolean {
  try {
    setPriority(-19);
    return true;
  } catch {
    return false;
  }
}

/** Runs the rounds. Waits after each phase until its rows and requests are gone. */
async function runRounds(fixture: Fixture, options: IsolationOptions, progress: Progress) {
  const { seller, job } = await prepare(fixture, options);
  const phases: Phase[] = [];
  const responseCounts: NoiseCounts[] = [];
  const random = randomFrom(options.seed);
  const child = startNoise(job);
  const hasPriority = raisePriority(); // last, because processes started later would inherit the priority
  try {
    // The warm-up has noise, so that every connection has planned its statements before the first phase.
    await progress.step('Warm-up', async () => {
      child.send({ on: true } satisfies NoiseMessage);
      await sellFor(seller, 10);
      await stopNoise(child);
      await fixture.pool.query('analyze'); // autovacuum would do this after a minute
      await sleep(6_000);
    });
    for (let round = 1; round <= options.rounds; round++) {
      const startsNoisy = random() < 0.5;
      for (const noisy of [startsNoisy, !startsNoisy]) {
        const label = `Round ${round} ${noisy ? 'noisy' : 'quiet'}`;
        const measure = async (): Promise<Phase> => {
          if (noisy) await addNoise(fixture, round, options.noises);
          if (noisy) child.send({ on: true } satisfies NoiseMessage);
          const [before, start] = [await cpuOf(fixture, child), performance.now()];
          const times = await sellFor(seller, options.seconds);
          const cpu = shareOf(before, await cpuOf(fixture, child), performance.now() - start);
          if (noisy) {
            responseCounts.push(await stopNoise(child));
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
  return { phases, responseCounts, hasPriority };
}

async function run(options: IsolationOptions, progress: Progress): Promise<void> {
  const key = Math.ceil(options.limit * limitSeconds);
  const fixture = await startFixture({ progress, limits: { key, address: addressLimit.requests } });
  try {
    const { phases, responseCounts, hasPriority } = await runRounds(fixture, options, progress);
    const machine = await describeMachine(fixture.pool);
    const rows = rowsOf(phases);
    const failed = phases.flatMap(({ noisy, times }) =>
      times.failed.map((reason) => `${noisy ? 'noisy' : 'quiet'}: ${reason}`),
    );
    const facts = [
      `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC, commit ${machine.commit}, ${machine.cores} cores, Node ${machine.versions.node}, PostgreSQL ${machine.postgres}.`,
      `${options.rounds} rounds of two phases of ${options.seconds} s, ${options.rate} sales per second, seed ${options.seed}.`,
      `Noise: ${options.noises.join(', ')}. Limit per key: ${key} requests in 10 s. Limit per address: ${addressLimit.requests} in 10 s.`,
      `Responses to the noise: ${describeResponses(responseCounts).join('; ')}.`,
      `The process that makes the sales ${hasPriority ? 'has a higher priority than all others' : 'has no higher priority than the others, which only root can set here'}.`,
      `CPU in percent of one core, quiet and noisy phases: ${cpuText(phases)}.`,
      `Failed sales of the calm tenant: ${failed.length}.`,
    ];
    console.log(`\n${textOf(rows)}\n\n${facts.map((fact) => `  ${fact}`).join('\n')}`);
    for (const reason of failed.slice(0, 5)) console.log(`  ${reason}`);
    if (options.write) {
      const path = join(repository, 'docs/performance.md');
      const text = `${facts.map((fact) => `- ${fact}`).join('\n')}\n\n${markdownOf(rows)}`;
      await writeFile(path, withTable(await readFile(path, 'utf8'), text, 'isolation'));
    }
    if (failed.length > 0 || rows.some(({ ratio }) => !(ratio <= acceptedRatio))) process.exitCode = 1;
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
