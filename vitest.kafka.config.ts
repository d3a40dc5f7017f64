import { defineConfig } from 'vitest/config';

/** Tests that need Apache Kafka: `npm run test:kafka` starts it, and tells them where it is. */
export default defineConfig({
  test: {
    include: ['test/kafka-broker/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 180_000,
    hookTimeout: 120_000,
    // One Kafka for all of them, and one test ends it.
    fileParallelism: false,
  },
});
