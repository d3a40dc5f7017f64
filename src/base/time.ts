const rfc3339 = /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,40}))?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;

const minuteMs = 60_000;
const lastMinute = 23 * 60 + 59;

/** Whether a moment's year is 1 to 9999, which every part of the system can write. */
const hasStorableYear = (ms: number): boolean => {
  const year = new Date(ms).getUTCFullYear();
  return year >= 1 && year <= 9999;
};

/**
 * Parses an RFC 3339 time to milliseconds since 1970, rounded to the nearest. Undefined if it is invalid or cannot be
 * stored. A leap second (only in the last minute of a UTC day) becomes the first moment of the next day.
 */
export function momentOf(text: string): number | undefined {
  const match = rfc3339.exec(text);
  if (!match) return undefined;
  const numberAt = (group: number): number => Number(match[group] ?? 0);
  const [year, month, day, hour, minute, second] = [
    numberAt(1),
    numberAt(2),
    numberAt(3),
    numberAt(4),
    numberAt(5),
    numberAt(6),
  ];
  const [offsetHour, offsetMinute] = [numberAt(9), numberAt(10)];
  if (hour > 23 || minute > 59 || second > 60 || offsetHour > 23 || offsetMinute > 59) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const offset = (offsetHour * 60 + offsetMinute) * (match[8] === '-' ? -1 : 1);
  const minuteStart = date.getTime() + (hour * 60 + minute - offset) * minuteMs;
  const minuteOfDay = (((minuteStart / minuteMs) % 1440) + 1440) % 1440;
  if (second === 60 && minuteOfDay !== lastMinute) return undefined;
  const ms = minuteStart + second * 1000 + Math.round(Number(`0.${match[7] ?? '0'}`) * 1000);
  return hasStorableYear(ms) && hasStorableYear(minuteStart) ? ms : undefined;
}

/** Converts a time to UTC, to the millisecond. Returns an invalid time unchanged. */
export function toUtc(text: string): string {
  const ms = momentOf(text);
  return ms === undefined ? text : new Date(ms).toISOString();
}
