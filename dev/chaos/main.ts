import { UsageError } from '../support/options.ts';
import { stopSignal } from '../support/stop-signal.ts';
import { help, readOptions } from './options.ts';
import { runChaos } from './run.ts';

try {
  const options = readOptions(process.argv.slice(2));
  if (!options) console.log(help);
  else {
    const signal = stopSignal('Stopping the platform.');
    const { findings, books, lines, dir } = await runChaos(options, console.log, signal);
    console.log(lines.join('\n'));
    if (options.keep) console.log(`Data and logs are in ${dir}`);
    if (books === null) process.exitCode = 130;
    else if (findings.length > 0) {
      console.log(`\n${findings.length} findings: the promises above are broken. Seed ${options.seed}`);
      process.exitCode = 1;
    } else console.log(`\nEvery promise holds. Seed ${options.seed}`);
  }
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 1;
}
