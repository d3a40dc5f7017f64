import { describeFailure } from '../../dev/postgres/connection.ts';
import { UsageError } from '../../dev/support/options.ts';
import { stopSignal } from '../../dev/support/stop-signal.ts';
import { ReplayError } from './file.ts';
import { help, readOptions } from './options.ts';
import { replay } from './run.ts';

try {
  const options = readOptions(process.argv.slice(2), process.env);
  if (!options) console.log(help);
  else {
    const terminal = { write: (text: string) => process.stdout.write(text), rewrites: process.stdout.isTTY === true };
    process.exitCode = await replay(options, terminal, stopSignal('Stopping after the requests in flight.'));
  }
} catch (error) {
  // Any other error without a code is a bug, so its stack is printed.
  const isExpected = error instanceof ReplayError || error instanceof UsageError;
  const unexpected = !isExpected && error instanceof Error && !('code' in error);
  console.error(`\n${unexpected ? error.stack : describeFailure(error)}`);
  process.exitCode = 1;
}
