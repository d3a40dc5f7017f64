/**
 * How much one job may do in one cron run. Cloudflare's paid plan allows an invocation 10,000 subrequests (calls to the
 * database, to Stripe and to the cache all count) and 15 minutes. The budgets of the jobs that run every minute
 * add up to 3,310 calls and 168 s, so every job gets to run. A call that has begun may exceed the time, and a job with
 * steps gets its time again up to twice (`Steps`). The next run continues where a job stopped.
 */
export const jobBudgets = {
  'hear-stripe': { seconds: 10, calls: 200 },
  'hear-accounts': { seconds: 15, calls: 400 },
  'reconcile-payments': { seconds: 15, calls: 400 },
  'expire-holds': { seconds: 8, calls: 60 },
  'expire-carts': { seconds: 5, calls: 50 },
  'decide-forgotten': { seconds: 5, calls: 40 },
  campaigns: { seconds: 10, calls: 100 },
  'remind-labels': { seconds: 5, calls: 10 },
  'check-vat': { seconds: 5, calls: 10 },
  // These three limit themselves: by a batch of 10 and a deadline, by the relay's lease, and by KAFKA_CONSUME_SECONDS.
  'void-labels': { seconds: 10, calls: 40 },
  relay: { seconds: 20, calls: 1_000 },
  'consume-kafka': { seconds: 60, calls: 1_000 },
  'reconcile-told': { seconds: 30, calls: 600 },
  'recheck-accounts': { seconds: 60, calls: 1_000 },
  purge: { seconds: 20, calls: 200 },
} as const;

/** The calls of one cron run in all cells. It leaves some of Cloudflare's 10,000 to the jobs without a budget. */
const maxCalls = 9_000;
const callsOfCell = 3_310;

/** The budget of a job in one of these many cells. From the fourth cell on, all cells share the calls of a run. */
export function budgetOf(job: keyof typeof jobBudgets, cells: number): { seconds: number; calls: number } {
  const { seconds, calls } = jobBudgets[job];
  return { seconds, calls: Math.max(1, Math.floor(calls * Math.min(1, maxCalls / (callsOfCell * cells)))) };
}

/** What remains of a job's calls and time. `spend` deducts calls and returns false once calls or time have run out. */
export class Budget {
  readonly #allSeconds: number;
  readonly #until: number;
  readonly #whole: Budget | undefined;
  #calls: number;

  constructor({ seconds, calls }: { seconds: number; calls: number }, whole?: Budget) {
    this.#allSeconds = seconds;
    this.#until = Date.now() + seconds * 1000;
    this.#calls = calls;
    this.#whole = whole;
  }

  /** The calls that remain. */
  get calls(): number {
    return this.#calls;
  }

  /** The seconds that remain. Negative if the time has been exceeded. */
  get seconds(): number {
    return (this.#until - Date.now()) / 1000;
  }

  spend(calls = 1): boolean {
    if (this.#calls <= 0 || Date.now() >= this.#until || this.#whole?.spend(calls) === false) return false;
    this.#calls -= calls;
    return true;
  }

  /** A part with at most this many calls and seconds. What it spends is also spent of the whole. */
  part(calls: number, seconds = Number.POSITIVE_INFINITY): Budget {
    return new Budget({ seconds: Math.min(seconds, this.seconds), calls }, this);
  }

  /** A budget with the calls that remain and with all of the time again. It remains a part of the same whole. */
  renewTime(): Budget {
    return new Budget({ seconds: this.#allSeconds, calls: this.#calls }, this.#whole);
  }
}
