import type { Account } from './stripe-account.ts';
import { settleDebit } from './stripe-attempt.ts';
import { openDispute } from './stripe-disputes.ts';
import { expireHold } from './stripe-intents.ts';
import { failRefund, settleRefund } from './stripe-refunds.ts';
import type { JobKind } from './stripe-store.ts';

const WORK: Record<JobKind, (account: Account, target: string) => void> = {
  debit_settles: settleDebit,
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
    WORK[job.kind](account, job.target);
    account.store.drop('job', job.id);
  }
  account.store.commit();
  account.webhooks.wake();
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
