import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeFailure } from '../../dev/postgres/connection.ts';
import { Progress } from '../../dev/support/progress.ts';
import { startFixture } from '../fixture/fixture.ts';
import type { Bench, Turn } from '../load/case.ts';
import { cases as benchCases } from '../load/cases.ts';
import { cartCases } from '../load/cases-carts.ts';
import { rejectedCases } from '../load/cases-refused.ts';
import type { Loaded, LoadJob } from '../load/job.ts';
import type { LimitJob } from '../load/limit-child.ts';
import { startLoader } from '../load/load.ts';
import { measure, pauseSinks } from '../load/measure.ts';
import { seedShop } from '../load/seed.ts';
import { seedCartShop } from '../load/seed-carts.ts';
import { formatFigure } from '../load/table.ts';
import { profileOf } from './cpuprofile.ts';
import { help, type ProfileOptions, readProfileOptions } from './options.ts';
import { perfFlags, startInspector, startPerf, whyNoPerf } from './samplers.ts';
import { readLocations } from './stacks.ts';
import { summaryLines } from './summary.ts';

/** The limits are not the store's code. */
const cases = [...benchCases, ...cartCases, ...rejectedCases].filter(({ isLimit }) => !isLimit);

async function main(): Promise<void> {
  const options = readProfileOptions(
    process.argv.slice(2),
    cases.map(({ name }) => name),
  );
  if (options) await profile(options);
  else console.log(help(cases));
}

async function profile({ name, seconds, clients, out, sampler }: ProfileOptions): Promise<void> {
  const benchCase = cases.find((candidate) => candidate.name === name);
  if (!benchCase) throw new Error(`unknown case ${name}`);
  const progress = new Progress((text) => process.stdout.write(text), process.stdout.isTTY === true);
  const problem = sampler === 'inspector' ? undefined : await whyNoPerf();
  if (problem !== undefined && sampler === 'perf') throw new Error(`${problem}. Use --sampler inspector.`);
  const usesPerf = sampler !== 'inspector' && problem === undefined;
  if (!usesPerf) {
    const why = problem === undefined ? '' : `${problem}, so the inspector is used. `;
    progress.say(`${why}The inspector charges JavaScript with more CPU than it uses, and sees no native code.`);
  }
  const flags = usesPerf ? { v8Flags: perfFlags } : { inspect: true };
  const fixture = await startFixture({ progress, minify: false, ...flags });
  const load = startLoader<LoadJob, Loaded>('child.ts');
  const limit = startLoader<LimitJob, Loaded>('./limit-child.ts');
  try {
    const shop = await progress.step('Shop', () => seedShop(fixture));
    const cartShop = await seedCartShop(fixture);
    const bench: Bench = { fixture, shop, cartShop, load, limit, file: undefined, rates: new Map() };
    const locate = await readLocations(join(fixture.dir, 'bundle', 'index.js.map'));
    const seed = Math.floor(Date.now() / 1000) % 1_000_000_000;
    const turn = (more: Partial<Turn>): Turn => ({ clients, for: { seconds }, seed, ...more });
    // The warm-up lasts longer than a tenant's token must be old for an edge hit of one lookup.
    await progress.step('Warm-up', () => measure(bench, benchCase, turn({ for: { seconds: 11 }, warmUp: true })));
    const { samples, sample } = await progress.step(
      'Profile',
      async () => {
        const stop = await (usesPerf ? startPerf : startInspector)(fixture, locate);
        await sleep(300);
        const measured = await measure(bench, benchCase, turn({ seed: seed + 1 }));
        return { samples: await stop(), sample: measured };
      },
      ({ sample: { requests, seconds: took } }) => `${formatFigure(requests / took)} requests a second`,
    );
    await pauseSinks(fixture, 'none');
    const cpuMs = sample.cpu.worker / sample.begun;
    await writeFile(out, JSON.stringify(profileOf(samples)));
    progress.say(`\nThe Worker's CPU: ${formatFigure(cpuMs)} ms a request, ${samples.length} samples\n`);
    for (const line of summaryLines(samples, cpuMs)) progress.say(line);
    progress.say(`\nThe profile is written to ${out}. Chrome opens it: DevTools, Performance, Load profile.`);
  } finally {
    load.stop();
    limit.stop();
    await fixture.stop();
  }
}

try {
  await main();
} catch (error) {
  console.error(`\n${describeFailure(error)}`);
  process.exitCode = 1;
}
