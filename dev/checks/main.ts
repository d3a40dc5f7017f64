import { type Check, checks, runTool } from './checks.ts';

const help = `npm run verify

Checks all that needs no database: format and lint, generated types, types, the rules of imports and files, the
documentation, the size of the bundle, package-lock.json, known vulnerabilities, and the unit tests (the OpenAPI snapshot
among them). "npm test" checks this and the rest.`;

const unitTests: Check = {
  name: 'the unit tests pass',
  run: async () => {
    const said = await runTool('vitest', ['run', '--project', 'unit', '--reporter', 'dot']);
    return /Tests {2}(.*)/.exec(said)?.[1] ?? '';
  },
};

/** Runs checks, two at a time, with a line for each as it ends; answers what went wrong. */
async function runChecks(waiting: Check[]): Promise<string[]> {
  const failures: string[] = [];
  const work = async (): Promise<void> => {
    for (let check = waiting.shift(); check; check = waiting.shift()) {
      const start = performance.now();
      const [mark, more] = await check.run().then(
        (said) => ['✓', said] as const,
        (error: Error) => {
          failures.push(`✗ ${check?.name}\n\n${error.message}`);
          return ['✗', ''] as const;
        },
      );
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(`${mark} ${seconds.padStart(5)} s  ${check.name}${more === '' ? '' : `: ${more}`}`);
    }
  };
  await Promise.all([work(), work()]);
  return failures;
}

if (process.argv.includes('--help')) {
  console.log(help);
} else {
  // The longest first, so that the others run beside it.
  const failures = await runChecks([unitTests, ...checks]);
  for (const failure of failures) console.error(`\n${failure}`);
  if (failures.length > 0) console.error(`\n${failures.length} of ${checks.length + 1} checks failed.`);
  process.exitCode = failures.length === 0 ? 0 : 1;
}
