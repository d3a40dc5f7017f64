import { defineConfig } from 'vitest/config';

/** Tests that need Apache Kafka: `npm run test:kafka` starts it and passes its address to them. */
export default defineConfig({
  test: {
    include: ['test/kafka-broker/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 180_000,
    hookTimeout: 120_000,
    // All tests share one Kafka, and one of them stops it.
    fileParallelism: false,
  },
});
