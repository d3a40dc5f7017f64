import { describeFailure } from '../dev/database.ts';
import { ReplayError } from './replay-file.ts';
import { help, readOptions } from './replay-options.ts';
import { replay } from './replay-run.ts';

/** The first Ctrl-C lets what is on its way end; another one, a second later or more, does not wait for it. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  let first = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!stop.signal.aborted) {
        first = Date.now();
        console.error('\nStopping: what is on its way is let end.');
        stop.abort();
      } else if (Date.now() - first > 1_000) process.exit(130); // npm passes a Ctrl-C on that we had already
    });
  }
  return stop.signal;
}

try {
  const options = readOptions(process.argv.slice(2), process.env);
  if (!options) console.log(help);
  else {
    const terminal = { write: (text: string) => process.stdout.write(text), rewrites: process.stdout.isTTY === true };
    process.exitCode = await replay(options, terminal, stopSignal());
  }
} catch (error) {
  // What is no ReplayError is a fault of ours or of the database: its stack helps.
  const unexpected = !(error instanceof ReplayError) && error instanceof Error && !('code' in error);
  console.error(`\n${unexpected ? error.stack : describeFailure(error)}`);
  process.exitCode = 1;
}
