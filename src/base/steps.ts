import type { Budget } from './budget.ts';

/** How much of what remains of the job's budget one step may use. */
const shareOfStep = 0.75;

/**
 * The steps of a cron job, one after another. Each may use most of what remains of the job's budget, so that a step with
 * much work leaves some to the later ones. A failing step does not stop them: the job fails once all of them have run.
 */
export class Steps {
  readonly #report: (step: string, error: unknown) => Promise<boolean>;
  readonly #failures: unknown[] = [];
  #budget: Budget;
  #isOver = false;

  /** `report`: reports the error of a step. It returns whether the later ones would fail too, and are left out. */
  constructor(budget: Budget, report: (step: string, error: unknown) => Promise<boolean>) {
    this.#budget = budget;
    this.#report = report;
  }

  /** @returns the result of the step, or `otherwise` if it failed or was left out */
  async run<T>(name: string, step: (budget: Budget) => Promise<T>, otherwise: T): Promise<T> {
    if (this.#isOver) return otherwise;
    try {
      return await step(this.#budget.share(shareOfStep));
    } catch (error) {
      this.#failures.push(error);
      this.#isOver = await this.#report(name, error);
      // The step may have waited for its timeout, which is as long as all of the job's time.
      this.#budget = this.#budget.renewTime();
      return otherwise;
    }
  }

  /** @throws the error of the first step that failed */
  end(): void {
    if (this.#failures.length > 0) throw this.#failures[0];
  }
}
