import { writeFileSync, writeSync } from 'node:fs';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

type Counts = { passed: number; failed: number };

/** Counts tests; what keeps tests from running (a file that does not load, a hook, an error that nobody took) failed too. */
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
 * Says last of all, after whatever else is printed while the run ends: `N passed, N failed`. Into the file CLOSING_LINE,
 * if that is given. A run that fails without a test that failed (its set-up did) counts one.
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
