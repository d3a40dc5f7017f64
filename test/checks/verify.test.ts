import { expect, test } from 'vitest';
import { checks } from '../../dev/checks/checks.ts';

// What `npm run verify` checks, so that `npm test` refuses what it refuses. The rules themselves: rules.test.ts.
test.each(checks)('$name', async ({ run }) => {
  const fault = await run().then(
    (said) => {
      if (said.startsWith('NOT CHECKED')) console.warn(said);
      return '';
    },
    (error: Error) => error.message,
  );
  expect(fault).toBe('');
});
