import { writeFileSync, writeSync } from 'node:fs';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

type Counts = { passed: number; failed: number };

/** Counts tests. A file that does not load, a failed hook and an unhandled error count as failed, too. */
export function countTests(modules: readonly TestModule[], errors: readonly SerializedError[]): Counts {
  let passed = 0;
  let failed = errors.length;
  for (const module of modules) {
    failed += module.errors().length;
    for (const suite of module.children.allSuites()) failed += suite.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed') passed++;
      else if (state === 'failed') failed++;
    }
  }
  return { passed, failed };
}

/**
 * Prints `N passed, N failed` as the last line of the run, or writes it to the file CLOSING_LINE if that is set. A run
 * that fails without a failed test, such as in its setup, counts one failure.
 */
export class ClosingLine implements Reporter {
  private counts: Counts = { passed: 0, failed: 0 };

  onInit(): void {
    process.once('exit', (code) => {
      const { passed, failed } = this.counts;
      const line = `${passed} passed, ${code === 0 ? failed : Math.max(failed, 1)} failed\n`;
      const file = process.env.CLOSING_LINE;
      if (file) writeFileSync(file, line);
      else writeSync(1, line);
    });
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    this.counts = countTests(modules, errors);
  }
}
