/** Prints one line for each finished step of a command. A terminal also shows the current step. */
export class Progress {
  private readonly write: (text: string) => void;
  private readonly isTerminal: boolean;
  private currentStep: string | undefined;

  constructor(write: (text: string) => void, isTerminal: boolean) {
    this.write = write;
    this.isTerminal = isTerminal;
  }

  /** Runs a step. Its line shows the time that it took and the result as `describe` formats it. */
  async step<T>(label: string, work: () => Promise<T>, describe: (result: T) => string = () => ''): Promise<T> {
    const start = performance.now();
    this.currentStep = label;
    if (this.isTerminal) this.write(`  … ${label}`);
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

  /** Prints a line above the current step. */
  say(text: string): void {
    const { currentStep } = this;
    this.clear();
    this.write(`${text}\n`);
    if (this.isTerminal && currentStep !== undefined) this.write(`  … ${currentStep}`);
  }

  private finish(mark: string, text: string): void {
    this.clear();
    this.currentStep = undefined;
    this.write(`  ${mark} ${text}\n`);
  }

  private clear(): void {
    if (this.isTerminal && this.currentStep !== undefined) this.write('\r\u001b[K');
  }
}
