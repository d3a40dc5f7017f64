/** One line for each part while the platform starts: on a terminal also the one that is being waited for. */
export class Progress {
  private readonly write: (text: string) => void;
  private readonly rewrites: boolean;
  private waitingFor: string | undefined;

  constructor(write: (text: string) => void, rewrites: boolean) {
    this.write = write;
    this.rewrites = rewrites;
  }

  /** Does a step; its line says how long it took, and what `describe` has to say of its result. */
  async step<T>(label: string, work: () => Promise<T>, describe: (result: T) => string = () => ''): Promise<T> {
    const start = performance.now();
    this.waitingFor = label;
    if (this.rewrites) this.write(`  … ${label}`);
    try {
      const result = await work();
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      this.finish('✓', `${label.padEnd(11)} ${seconds.padStart(4)} s  ${describe(result)}`.trimEnd());
      return result;
    } catch (error) {
      this.finish('✗', label);
      throw error;
    }
  }

  /** A line of its own, above the step that is being waited for. */
  say(text: string): void {
    const { waitingFor } = this;
    this.clear();
    this.write(`${text}\n`);
    if (this.rewrites && waitingFor !== undefined) this.write(`  … ${waitingFor}`);
  }

  private finish(mark: string, text: string): void {
    this.clear();
    this.waitingFor = undefined;
    this.write(`  ${mark} ${text}\n`);
  }

  private clear(): void {
    if (this.rewrites && this.waitingFor !== undefined) this.write('\r\u001b[K');
  }
}
