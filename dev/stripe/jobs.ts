import type { Account, Accounts } from './account.ts';
import { settleCharge } from './attempt.ts';
import { openDispute } from './disputes.ts';
import { expireAuthorization } from './intents.ts';
import { failRefund, settleRefund } from './refunds.ts';
import type { Job, JobKind } from './store.ts';

const JOB_HANDLERS: Record<JobKind, (account: Account, target: string) => void> = {
  attempt_fails: (account, charge) => settleCharge(account, charge, 'decline'),
  attempt_succeeds: (account, charge) => settleCharge(account, charge, 'succeed'),
  debit_settles: settleCharge,
  dispute_opens: openDispute,
  hold_expires: expireAuthorization,
  refund_fails: failRefund,
  refund_settles: settleRefund,
};

const MAX_WAIT_MS = 60_000;

/** The jobs of every account. */
function allJobs(accounts: Accounts): { account: Account; job: Job }[] {
  return accounts.all().flatMap((account) => account.store.all('job').map((job) => ({ account, job })));
}

/** The time of the next job, or infinity. */
function nextJobAt(accounts: Accounts): number {
  return Math.min(...allJobs(accounts).map(({ job }) => job.dueAt));
}

/** Runs the jobs that are due on the emulator's clock, oldest first, and commits the changes. */
export function runDueJobs(accounts: Accounts): void {
  const now = accounts.now();
  const due = allJobs(accounts).filter(({ job }) => job.dueAt <= now);
  if (due.length === 0) return;
  accounts.cause = { id: null, idempotency_key: null };
  for (const { account, job } of due.sort((a, b) => a.job.dueAt - b.job.dueAt)) {
    accounts.effects = job.loseEvents === undefined ? {} : { loseEvents: job.loseEvents };
    JOB_HANDLERS[job.kind](account, job.target);
    account.store.drop('job', job.id);
  }
  accounts.effects = {};
  accounts.state.commit();
  accounts.webhooks.wake();
}

/** Moves the clock forward. Each job that becomes due runs at its own time, so its events have that time. */
export function advanceClock(accounts: Accounts, ms: number): void {
  const end = accounts.now() + ms;
  for (;;) {
    runDueJobs(accounts);
    const next = nextJobAt(accounts);
    if (next > end) break;
    accounts.moveTo(next);
  }
  accounts.moveTo(end);
}

/** Runs jobs when they become due, until `close`. Call `wake` after scheduling a job. */
export function startJobs(accounts: Accounts): { wake(): void; close(): void } {
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const wake = () => {
    clearTimeout(timer);
    if (closed) return;
    runDueJobs(accounts);
    const next = nextJobAt(accounts);
    if (next === Number.POSITIVE_INFINITY) return;
    timer = setTimeout(wake, Math.min(Math.max(next - accounts.now(), 1), MAX_WAIT_MS));
  };
  wake();
  const close = () => {
    closed = true;
    clearTimeout(timer);
  };
  return { wake, close };
}
