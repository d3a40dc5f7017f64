import type { Account } from './account.ts';
import { settleCharge } from './attempt.ts';
import { openDispute } from './disputes.ts';
import { expireAuthorization } from './intents.ts';
import { failRefund, settleRefund } from './refunds.ts';
import type { JobKind } from './store.ts';

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

/** Runs the jobs that are due on the emulator's clock, oldest first, and commits the changes. */
export function runDueJobs(account: Account): void {
  const now = account.now();
  const due = account.store.all('job').filter((job) => job.dueAt <= now);
  if (due.length === 0) return;
  account.cause = { id: null, idempotency_key: null };
  for (const job of due.sort((a, b) => a.dueAt - b.dueAt)) {
    account.effects = job.loseEvents === undefined ? {} : { loseEvents: job.loseEvents };
    JOB_HANDLERS[job.kind](account, job.target);
    account.store.drop('job', job.id);
  }
  account.effects = {};
  account.store.commit();
  account.webhooks.wake();
}

/** Moves the clock forward. Each job that becomes due runs at its own time, so its events have that time. */
export function advanceClock(account: Account, ms: number): void {
  const end = account.now() + ms;
  for (;;) {
    runDueJobs(account);
    const next = Math.min(...account.store.all('job').map((job) => job.dueAt));
    if (next > end) break;
    account.moveTo(next);
  }
  account.moveTo(end);
}

/** Runs jobs when they become due, until `close`. Call `wake` after scheduling a job. */
export function startJobs(account: Account): { wake(): void; close(): void } {
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const wake = () => {
    clearTimeout(timer);
    if (closed) return;
    runDueJobs(account);
    const next = Math.min(...account.store.all('job').map((job) => job.dueAt));
    if (next === Number.POSITIVE_INFINITY) return;
    timer = setTimeout(wake, Math.min(Math.max(next - account.now(), 1), MAX_WAIT_MS));
  };
  wake();
  const close = () => {
    closed = true;
    clearTimeout(timer);
  };
  return { wake, close };
}
