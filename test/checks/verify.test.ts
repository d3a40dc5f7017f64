import { expect, test } from 'vitest';
import { checks } from '../../dev/checks/checks.ts';

// `npm test` runs the checks of `npm run verify` too. rules.test.ts tests the rules themselves.
test.each(checks)('$name', async ({ run }) => {
  const problem = await run().then(
    (result) => {
      if (result.startsWith('NOT CHECKED')) console.warn(result);
      return '';
    },
    (error: Error) => error.message,
  );
  expect(problem).toBe('');
});
