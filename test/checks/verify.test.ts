import { expect, test } from 'vitest';
import { checks } from '../../dev/checks/checks.ts';

// `npm test` runs the checks of `npm run verify` too. rules.test.ts tests the rules themselves.
test.each(checks)('$name', async ({ run }) => {
  const problem = await run().then(
    (said) => {
      if (said.startsWith('NOT CHECKED')) console.warn(said);
      return '';
    },
    (error: Error) => error.message,
  );
  expect(problem).toBe('');
});
