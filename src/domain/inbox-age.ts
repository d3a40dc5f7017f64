const dayMs = 86_400_000;

/**
 * The inbox remembers an event for 30 days from its first delivery. An older repetition would be applied again, so events
 * are refused from 28 days on; the two days between are for events whose time is ahead of ours by up to a day.
 */
const oldestDays = 28;

/** Why an event of this time cannot be taken, or undefined. */
export function ageFault(time: string, now: Date): string | undefined {
  const age = now.getTime() - Date.parse(time);
  if (age > oldestDays * dayMs) return `It is older than ${oldestDays} days: it may have been applied before.`;
  if (!(age >= -dayMs)) return 'Its time is more than a day ahead.';
  return undefined;
}
