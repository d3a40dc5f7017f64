import { defineConfig } from 'vitest/config';
import { ClosingLine } from './test/support/closing-line.ts';
import { levels } from './test/support/levels.ts';

const patient = { testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
    // Two cores: more files at once would only wait for each other.
    maxWorkers: 2,
    reporters: ['default', new ClosingLine()],
    projects: [
      { test: { ...patient, name: 'unit', include: levels.unit } },
      { test: { ...patient, name: 'store', include: levels.store, globalSetup: ['test/support/global-setup.ts'] } },
    ],
  },
});
