import { defineConfig } from 'vitest/config';
import { ClosingLine } from './test/support/closing-line.ts';
import { levels } from './test/support/levels.ts';

const timeouts = { testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
    // The tests are meant for two cores. More files at once would only wait for each other.
    maxWorkers: 2,
    reporters: ['default', new ClosingLine()],
    projects: [
      { test: { ...timeouts, name: 'unit', include: levels.unit } },
      { test: { ...timeouts, name: 'store', include: levels.store, globalSetup: ['test/support/global-setup.ts'] } },
    ],
  },
});
