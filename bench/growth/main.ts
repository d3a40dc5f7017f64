import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { repository } from '../../dev/platform/settings.ts';
import { describeFailure } from '../../dev/postgres/connection.ts';
import { Progress as Steps } from '../../dev/support/progress.ts';
import { startFixture } from '../fixture/fixture.ts';
import { Progress } from '../replay/progress.ts';
import { markdownOf, withTable } from './docs.ts';
import { help, readOptions } from './options.ts';
import { type Row, resultOf, tableOf } from './report.ts';
import { runGrowth } from './run.ts';

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options === null) {
    console.log(help);
    return;
  }
  if (options.dir !== undefined) {
    process.env.TMPDIR = resolve(options.dir);
    await mkdir(process.env.TMPDIR, { recursive: true });
  }
  const write = (text: string) => process.stdout.write(text);
  const began = new Date();
  const fixture = await startFixture({ progress: new Steps(write, process.stdout.isTTY === true) });
  try {
    const { rows: versions } = await fixture.pool.query<{ v: string }>(`select current_setting('server_version') as v`);
    const file = join(repository, 'bench', 'results', `growth-${began.toISOString().slice(0, 10)}.json`);
    await mkdir(join(repository, 'bench', 'results'), { recursive: true });
    const saveResults = async (found: Row[], sizes: number[]): Promise<void> => {
      const machine = {
        date: began.toISOString(),
        minutes: Math.round((Date.now() - began.getTime()) / 60_000),
        machine: { cpu: cpus()[0]?.model, cores: cpus().length, memoryGb: Math.round(totalmem() / 2 ** 30) },
        node: process.version,
        postgres: versions[0]?.v,
        products: sizes.map((size) => Math.min(size, options.products)),
      };
      await writeFile(file, `${JSON.stringify(resultOf(found, sizes, machine), null, 1)}\n`);
    };
    const rows = await runGrowth(fixture, options, new Progress(write, process.stdout.isTTY === true), saveResults);
    console.log(`\n${tableOf(rows, options.sizes)}\n`);
    const smallest = options.sizes[0]?.toLocaleString('en-GB');
    console.log(
      `  ${smallest}' is the smallest size, measured again at the same time as the largest. ratio = largest / smallest'.\n  Results: ${file}`,
    );
    if (options.docs) {
      const page = join(repository, 'docs', 'performance.md');
      await writeFile(page, withTable(await readFile(page, 'utf8'), markdownOf(rows, options.sizes)));
    }
  } finally {
    await fixture.stop();
  }
}

try {
  await main();
} catch (error) {
  console.error(describeFailure(error));
  process.exitCode = 1;
}
