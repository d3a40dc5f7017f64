const dayMs = 86_400_000;

/**
 * The inbox remembers an event for 30 days from its first delivery. After that a repeated event would be applied again,
 * so events older than 28 days are rejected. The two days between allow for event times that are up to a day ahead.
 */
const maxAgeDays = 28;

/** Why an event with this time cannot be accepted. Undefined if it can. */
export function ageFault(time: string, now: Date): string | undefined {
  const age = now.getTime() - Date.parse(time);
  if (age > maxAgeDays * dayMs) return `It is older than ${maxAgeDays} days: it may have been applied before.`;
  if (!(age >= -dayMs)) return 'Its time is more than a day ahead.';
  return undefined;
}
