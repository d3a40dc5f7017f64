import type { Account } from './account.ts';
import { settleCharge } from './attempt.ts';
import { openDispute } from './disputes.ts';
import { expireHold } from './intents.ts';
import { failRefund, settleRefund } from './refunds.ts';
import type { JobKind } from './store.ts';

const WORK: Record<JobKind, (account: Account, target: string) => void> = {
  attempt_fails: (account, charge) => settleCharge(account, charge, 'decline'),
  attempt_succeeds: (account, charge) => settleCharge(account, charge, 'succeed'),
  debit_settles: settleCharge,
  dispute_opens: openDispute,
  hold_expires: expireHold,
  refund_fails: failRefund,
  refund_settles: settleRefund,
};

const LONGEST_WAIT_MS = 60_000;

/** Does what the emulator's clock says is due, in the order in which it was due, and commits it. */
export function runDueJobs(account: Account): void {
  const now = account.now();
  const due = account.store.all('job').filter((job) => job.dueAt <= now);
  if (due.length === 0) return;
  account.cause = { id: null, idempotency_key: null };
  for (const job of due.sort((a, b) => a.dueAt - b.dueAt)) {
    account.fate = job.loseEvents === undefined ? {} : { loseEvents: job.loseEvents };
    WORK[job.kind](account, job.target);
    account.store.drop('job', job.id);
  }
  account.fate = {};
  account.store.commit();
  account.webhooks.wake();
}

/** Moves the clock forward. Each job on the way is done at its own time, so what it records bears that time. */
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

/** Runs the jobs by themselves until `close`; `wake` after a new one was scheduled. */
export function startJobs(account: Account): { wake(): void; close(): void } {
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const wake = () => {
    clearTimeout(timer);
    if (closed) return;
    runDueJobs(account);
    const next = Math.min(...account.store.all('job').map((job) => job.dueAt));
    if (next === Number.POSITIVE_INFINITY) return;
    timer = setTimeout(wake, Math.min(Math.max(next - account.now(), 1), LONGEST_WAIT_MS));
  };
  wake();
  const close = () => {
    closed = true;
    clearTimeout(timer);
  };
  return { wake, close };
}
