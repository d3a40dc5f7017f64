import { ChaosUsage, help, readOptions } from './chaos-options.ts';
import { runChaos } from './chaos-run.ts';

/** The first Ctrl-C ends the run in order; another one, a second later or more, does not wait for that. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  let first = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!stop.signal.aborted) {
        first = Date.now();
        console.error('\nStopping: what runs is being ended.');
        stop.abort();
      } else if (Date.now() - first > 1_000) process.exit(130); // npm passes a Ctrl-C on that we had already
    });
  }
  return stop.signal;
}

try {
  const options = readOptions(process.argv.slice(2));
  if (!options) console.log(help);
  else {
    const signal = stopSignal();
    const { findings, books, lines, dir } = await runChaos(options, console.log, signal);
    console.log(lines.join('\n'));
    if (options.keep) console.log(`Data and logs: ${dir}`);
    if (books === null) process.exitCode = 130;
    else if (findings.length > 0) {
      console.log(`\n${findings.length} promises are broken; seed ${options.seed}`);
      process.exitCode = 1;
    } else console.log(`\nEvery promise holds; seed ${options.seed}`);
  }
} catch (error) {
  console.error(error instanceof ChaosUsage ? error.message : error);
  process.exitCode = 1;
}
