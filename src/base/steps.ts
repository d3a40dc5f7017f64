import type { Budget } from './budget.ts';

/** The part of the job's calls and time that is reserved for each later step: one twentieth, and at least one call. */
const reserveShare = 1 / 20;
const maxRenewals = 2;

/** What a step may use: all that remains except the later steps' reserves, or an equal share of it if that is more. */
const shareOf = (remaining: number, laterSteps: number, reserve: number): number =>
  Math.max(remaining - laterSteps * reserve, remaining / (laterSteps + 1));

/**
 * The steps of a cron job, one after another. Each may use what remains of the job's budget, except a reserve for each
 * later step. So no step is starved by earlier ones, and can use what they leave. A failing step does not stop the later
 * ones: the job fails once all of them have run.
 */
export class Steps {
  readonly #report: (step: string, error: unknown, durationMs: number) => Promise<boolean>;
  readonly #reserve: { calls: number; seconds: number };
  readonly #failures: unknown[] = [];
  #budget: Budget;
  #stepsLeft: number;
  #renewals = 0;
  #isOver = false;

  /**
   * `count`: the number of steps. `report`: reports the error of a step. It returns whether the later ones would fail
   * too, and are left out.
   */
  constructor(
    budget: Budget,
    count: number,
    report: (step: string, error: unknown, durationMs: number) => Promise<boolean>,
  ) {
    this.#budget = budget;
    this.#stepsLeft = count;
    this.#report = report;
    const calls = Math.max(1, Math.floor(budget.calls * reserveShare));
    this.#reserve = { calls, seconds: budget.seconds * reserveShare };
  }

  /** @returns the result of the step, or `otherwise` if it failed or was left out */
  async run<T>(name: string, step: (budget: Budget) => Promise<T>, otherwise: T): Promise<T> {
    return this.#isOver ? otherwise : this.runAlways(name, step, otherwise);
  }

  /** Like `run`, but the step is never left out. */
  async runAlways<T>(name: string, step: (budget: Budget) => Promise<T>, otherwise: T): Promise<T> {
    const started = Date.now();
    const part = this.#nextPart();
    try {
      return await step(part);
    } catch (error) {
      this.#failures.push(error);
      this.#isOver = (await this.#report(name, error, Date.now() - started)) || this.#isOver;
      // A call that waits for its timeout can exceed the step's time and use the time of the later steps.
      if (part.seconds <= 0 && this.#renewals < maxRenewals) {
        this.#renewals++;
        this.#budget = this.#budget.renewTime();
      }
      return otherwise;
    }
  }

  /** @throws the error of the first step that failed */
  end(): void {
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  #nextPart(): Budget {
    if (this.#stepsLeft === 0) throw new Error('the job has more steps than it announced: correct its `count`');
    this.#stepsLeft--;
    const { calls, seconds } = this.#budget;
    return this.#budget.part(
      Math.ceil(shareOf(calls, this.#stepsLeft, this.#reserve.calls)),
      shareOf(seconds, this.#stepsLeft, this.#reserve.seconds),
    );
  }
}
