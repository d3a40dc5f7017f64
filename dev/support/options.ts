import { type ParseArgsConfig, parseArgs } from 'node:util';

/** An invalid command line. Its message is written for the terminal. */
export class UsageError extends Error {}

/**
 * Parses the options of a command, such as `npm run demo`.
 * @throws UsageError for an unknown option, an unexpected argument or a missing value
 */
export function parseOptions<const T extends ParseArgsConfig>(
  command: string,
  config: T,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const [problem] = (error as Error).message.split(/\.\s/);
    throw new UsageError(`${problem}. Run "${command} -- --help" to see the options.`);
  }
}

/** For a command whose only option is --help: prints the help and exits, or exits with 1 if there is another argument. */
export function acceptOnlyHelp(command: string, help: string): void {
  try {
    const { values } = parseOptions(command, { options: { help: { type: 'boolean' } } });
    if (!values.help) return;
    console.log(help);
    process.exit(0);
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}
