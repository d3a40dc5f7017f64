/**
 * Thrown by a consumer that has applied only some of its messages. `failures`, by event id: the reason, and whether a
 * later delivery would fail too. Such a message becomes a dead letter at once. `isRequestedAgain`: a cron emits a new
 * event, so the message is dropped, and not a dead letter, when the queue gives it up.
 */
export class PartlyApplied extends Error {
  readonly failures: ReadonlyMap<string, { reason: string; permanent: boolean; isRequestedAgain?: boolean }>;

  constructor(failures: PartlyApplied['failures']) {
    super([...new Set([...failures.values()].map(({ reason }) => reason))].join('; ').slice(0, 300));
    this.name = 'PartlyApplied';
    this.failures = failures;
  }
}
