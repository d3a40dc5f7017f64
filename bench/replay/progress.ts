const rewriteEveryMs = 200;
const lineEveryMs = 5_000;

/** `1234567` as `1,234,567`. */
export const grouped = (number: number | bigint): string => number.toLocaleString('en-GB');

/** Pence as pounds: `203874259n` as `2,038,742.59`. */
export function pounds(pence: bigint): string {
  const size = pence < 0n ? -pence : pence;
  return `${pence < 0n ? '-' : ''}${grouped(size / 100n)}.${String(size % 100n).padStart(2, '0')}`;
}

/** Milliseconds in readable units: `8.1 s`, `42 s`, `3 min 5 s`. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return '?';
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/**
 * Shows the progress of the current step: on a terminal in one line that is overwritten, elsewhere as a new line every
 * five seconds. Each finished step leaves one line.
 */
export class Progress {
  readonly #write: (text: string) => void;
  readonly #rewrites: boolean;
  #label = '';
  #began = 0;
  #shown = 0;
  #open = false;

  constructor(write: (text: string) => void, rewrites: boolean) {
    this.#write = write;
    this.#rewrites = rewrites;
  }

  begin(label: string, text = ''): void {
    this.#label = label;
    this.#began = performance.now();
    this.#shown = this.#began;
    if (this.#rewrites) this.#rewrite(text);
  }

  /** Milliseconds since the step began. */
  get elapsed(): number {
    return performance.now() - this.#began;
  }

  /** Shows the progress, at most every 200 ms (5 s without a terminal). Calls `describe` only then. */
  show(describe: () => string): void {
    const now = performance.now();
    if (now - this.#shown < (this.#rewrites ? rewriteEveryMs : lineEveryMs)) return;
    this.#shown = now;
    if (this.#rewrites) this.#rewrite(describe());
    else this.#write(`  … ${this.#label.padEnd(13)} ${describe()}\n`);
  }

  /** Shows how many of `total` items are handled, the rate of the items sent, and the remaining time. */
  showCount(step: { handled: number; sent: number; total: number; unit: string; failed: number }): void {
    this.show(() => {
      const rate = step.sent / (this.elapsed / 1000);
      const remaining = duration(((step.total - step.handled) / rate) * 1000);
      const share = `${grouped(step.handled)} of ${grouped(step.total)}`;
      return `${share}, ${rate.toFixed(0)} ${step.unit}/s, ${grouped(step.failed)} failed, ETA ${remaining}`;
    });
  }

  end(text: string, succeeded = true): void {
    const took = duration(this.elapsed);
    this.#clear();
    this.#write(`  ${succeeded ? '✓' : '✗'} ${this.#label.padEnd(13)} ${took.padStart(9)}  ${text}\n`);
  }

  /** Prints a line above the progress line. */
  say(text: string): void {
    this.#clear();
    this.#write(`${text}\n`);
  }

  #rewrite(text: string): void {
    this.#clear();
    const width = (process.stdout.columns || 120) - 1;
    this.#write(`  … ${this.#label.padEnd(13)} ${text}`.slice(0, width));
    this.#open = true;
  }

  #clear(): void {
    if (this.#open) this.#write('\r\u001b[K');
    this.#open = false;
  }
}
