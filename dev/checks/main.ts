import { acceptOnlyHelp } from '../support/options.ts';
import { type Check, checks, runTool } from './checks.ts';

const help = `npm run verify

Runs every check that takes seconds: format, lint, generated types, types, the rules for imports and files, the
documentation, docs/schema.sql, the bundle size, package-lock.json, known vulnerabilities, and the unit tests (with the
OpenAPI snapshot). For docs/schema.sql it starts its own PostgreSQL in a temporary folder; DATABASE_URL is not used.
"npm test" runs these checks and all other tests. Exit code 0: all pass; 1: a check fails.`;

const unitTests: Check = {
  name: 'the unit tests pass',
  run: async () => {
    const output = await runTool('vitest', ['run', '--project', 'unit', '--reporter', 'dot']);
    return /Tests {2}(.*)/.exec(output)?.[1] ?? '';
  },
};

/** Runs the checks, two at a time, and prints a line for each. Resolves with the failures. */
async function runChecks(waiting: Check[]): Promise<string[]> {
  const failures: string[] = [];
  const work = async (): Promise<void> => {
    for (let check = waiting.shift(); check; check = waiting.shift()) {
      const start = performance.now();
      const [mark, result] = await check.run().then(
        (output) => [output.startsWith('NOT CHECKED') ? '–' : '✓', output] as const,
        (error: Error) => {
          failures.push(`✗ ${check?.name}\n\n${error.message}`);
          return ['✗', ''] as const;
        },
      );
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(`${mark} ${seconds.padStart(5)} s  ${check.name}${result === '' ? '' : `: ${result}`}`);
    }
  };
  await Promise.all([work(), work()]);
  return failures;
}

acceptOnlyHelp('npm run verify', help);
// The unit tests take longest, so they start first and the other checks run beside them.
const failures = await runChecks([unitTests, ...checks]);
for (const failure of failures) console.error(`\n${failure}`);
if (failures.length > 0) console.error(`\n${failures.length} of ${checks.length + 1} checks failed.`);
process.exitCode = failures.length === 0 ? 0 : 1;
