import { type ChildProcess, fork } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Progress } from '../dev/progress.ts';
import { repository } from '../dev/settings.ts';
import { addressLimit } from '../src/rate-limit.ts';
import { describeMachine } from './bench-machine.ts';
import { withTable } from './growth-docs.ts';
import type { NoiseCounts, NoiseJob, NoiseMessage } from './isolation-noise.ts';
import { help, type IsolationOptions, readIsolationOptions } from './isolation-options.ts';
import { accepted, answersOf, markdownOf, type Phase, rowsOf, textOf } from './isolation-report.ts';
import { addNoise, refuseBadRows, removeNoise } from './isolation-rows.ts';
import { measureCapacity, type Seller, sellFor, send } from './isolation-sales.ts';
import { type Rig, startRig } from './rig.ts';

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
  const child = fork(join(import.meta.dirname, 'isolation-noise.ts'), { execArgv: ['--no-warnings'] });
  child.on('error', () => undefined);
  child.send({ job } satisfies NoiseMessage);
  return child;
}

async function stopNoise(child: ChildProcess): Promise<NoiseCounts> {
  const counts = new Promise<NoiseCounts>((resolve) => child.once('message', resolve));
  child.send({ on: false } satisfies NoiseMessage);
  return counts;
}

/** The orders a second that this machine carries, without limits, on a platform of its own. */
async function capacityOf(progress: Progress): Promise<number> {
  const rig = await startRig({ progress });
  try {
    const key = await rig.key('calm');
    await send(rig, key, 'POST', '/v1/products', { ...product, sku: 'CALM', name: 'Calm' });
    await measureCapacity(rig, key, 2);
    return await progress.step(
      'Capacity',
      () => measureCapacity(rig, key, 5),
      (orders) => `${orders.toFixed(0)} orders/s with 16 clients`,
    );
  } finally {
    await rig.stop();
  }
}

async function prepare(rig: Rig, options: IsolationOptions): Promise<{ seller: Seller; job: NoiseJob }> {
  const calm = await rig.key('calm');
  const keys = { flood: await rig.key('noisy'), import: await rig.key('noisy'), campaign: await rig.key('noisy') };
  await send(rig, calm, 'POST', '/v1/products', { ...product, sku: 'CALM', name: 'Calm' });
  const noise = { ...product, sku: 'NOISE', name: 'Noise' };
  const { id: productId } = await send(rig, keys.import, 'POST', '/v1/products', noise);
  const campaign = await send(rig, keys.import, 'POST', '/v1/campaigns', {
    ...{ productId, minParticipants: 100_000, maxParticipants: 500_000, price: 5 },
    startTime: new Date(Date.now() - 60_000).toISOString(),
    endTime: new Date(Date.now() + 86_400_000).toISOString(),
  });
  await refuseBadRows(rig);
  const job = { api: rig.api, keys, campaignId: campaign.id, flood: options.flood, noises: options.noises };
  return { seller: { rig, key: calm, rate: options.rate }, job };
}

/** Runs the rounds. Each phase begins once the traces of the last one are gone. */
async function runRounds(rig: Rig, options: IsolationOptions, progress: Progress) {
  const { seller, job } = await prepare(rig, options);
  const phases: Phase[] = [];
  const answers: NoiseCounts[] = [];
  const random = randomFrom(options.seed);
  const child = startNoise(job);
  try {
    await progress.step('Warm-up', () => sellFor(seller, 3));
    for (let round = 1; round <= options.rounds; round++) {
      const first = random() < 0.5;
      for (const noisy of [first, !first]) {
        const label = `Round ${round} ${noisy ? 'noisy' : 'quiet'}`;
        const measure = async (): Promise<Phase> => {
          if (noisy) await addNoise(rig, round, options.noises);
          if (noisy) child.send({ on: true } satisfies NoiseMessage);
          const times = await sellFor(seller, options.seconds);
          if (noisy) {
            answers.push(await stopNoise(child));
            await sleep(500);
            await removeNoise(rig);
          }
          return { noisy, times, load: loadavg()[0] ?? 0 };
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
  return { phases, answers };
}

async function run(options: IsolationOptions, progress: Progress): Promise<void> {
  const capacity = options.capacity ?? (await capacityOf(progress));
  const key = Math.ceil(capacity * options.share * limitSeconds);
  const rig = await startRig({ progress, limits: { key, address: addressLimit.requests } });
  try {
    const { phases, answers } = await runRounds(rig, options, progress);
    const machine = await describeMachine(rig.pool);
    const rows = rowsOf(phases);
    const failed = phases.flatMap(({ noisy, times }) =>
      times.failed.map((why) => `${noisy ? 'noisy' : 'quiet'}: ${why}`),
    );
    const loads = phases.map(({ load }) => load);
    const facts = [
      `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC, commit ${machine.commit}, ${machine.cores} cores, Node ${machine.versions.node}, PostgreSQL ${machine.postgres}.`,
      `${options.rounds} rounds of two phases of ${options.seconds} s, ${options.rate} sales a second, seed ${options.seed}. ` +
        `Load average (1 minute) ${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}.`,
      `${options.capacity === undefined ? 'Measured' : 'Assumed'} capacity: ${capacity.toFixed(0)} orders/s. Limit of a key: ${key} in 10 s, ${options.share} of it. Limit of an address: ${addressLimit.requests} in 10 s.`,
      `Answers to the noise: ${answersOf(answers).join('; ')}.`,
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
    await rig.stop();
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
