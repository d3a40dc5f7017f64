/**
 * Thrown by a consumer that has applied only a part of its messages; the others are done. By event id: why, and whether
 * a later delivery would fail alike, so that the message goes to the dead letters at once, with that reason.
 */
export class PartlyApplied extends Error {
  readonly failures: ReadonlyMap<string, { reason: string; permanent: boolean }>;

  constructor(failures: PartlyApplied['failures']) {
    super([...new Set([...failures.values()].map(({ reason }) => reason))].join('; ').slice(0, 300));
    this.name = 'PartlyApplied';
    this.failures = failures;
  }
}
