import { describeFailure } from '../dev/database.ts';
import { stopSignal } from '../dev/stop-signal.ts';
import { ReplayError } from './replay-file.ts';
import { help, readOptions } from './replay-options.ts';
import { replay } from './replay-run.ts';

try {
  const options = readOptions(process.argv.slice(2), process.env);
  if (!options) console.log(help);
  else {
    const terminal = { write: (text: string) => process.stdout.write(text), rewrites: process.stdout.isTTY === true };
    process.exitCode = await replay(options, terminal, stopSignal('Stopping: what is on its way is let end.'));
  }
} catch (error) {
  // What is no ReplayError is a fault of ours or of the database: its stack helps.
  const unexpected = !(error instanceof ReplayError) && error instanceof Error && !('code' in error);
  console.error(`\n${unexpected ? error.stack : describeFailure(error)}`);
  process.exitCode = 1;
}
