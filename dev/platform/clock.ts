import { readFile } from 'node:fs/promises';

/** Numbers of the names of weekdays and months. */
const numberByName: Record<string, number> = {
  ...Object.fromEntries(['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'].map((name, i) => [name, i])),
  ...Object.fromEntries(
    ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'].map((name, i) => [
      name,
      i + 1,
    ]),
  ),
};

/** The allowed values of each field: minute, hour, day of month, month, day of week. */
const ranges = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 7],
] as const;

/** Reads the cron expressions (`crons`, a list of strings) of a wrangler.toml. */
export async function readCrons(path: string): Promise<string[]> {
  const text = (await readFile(path, 'utf8')).replaceAll(/^\s*#.*$/gm, '');
  const list = /^\s*crons\s*=\s*\[([^\]]*)\]/m.exec(text)?.[1] ?? '';
  return [...list.matchAll(/"([^"]*)"|'([^']*)'/g)].map((match) => match[1] ?? match[2] ?? '');
}

/** Whether a cron expression of five fields matches this minute, in UTC. Throws if the expression is invalid. */
export function isDue(cron: string, time: Date): boolean {
  const fields = cron.trim().split(/\s+/);
  if (fields.length !== 5) throw new Error(`"${cron}" is not a cron expression: it needs five fields`);
  const now = [time.getUTCMinutes(), time.getUTCHours(), time.getUTCDate(), time.getUTCMonth() + 1, time.getUTCDay()];
  const matches = fields.map((field, i) => {
    const [low, high] = ranges[i] ?? [0, 0];
    const values = field.split(',').flatMap((part) => readPart(part, low, high, cron));
    return values.includes(now[i] ?? -1) || (i === 4 && now[4] === 0 && values.includes(7));
  });
  // If a cron names days of the month and days of the week, a match of either is enough.
  const bothDays = fields[2] !== '*' && fields[4] !== '*';
  const day = bothDays ? matches[2] || matches[4] : matches[2] && matches[4];
  return Boolean(matches[0] && matches[1] && matches[3] && day);
}

/** The values that one part of a field (`5`, `1-5`, or `*` with an optional `/step`) stands for. */
function readPart(part: string, low: number, high: number, cron: string): number[] {
  const match = /^(?:\*|(\w+)(?:-(\w+))?)(?:\/(\d+))?$/.exec(part);
  const read = (text: string): number => numberByName[text.toUpperCase()] ?? Number(text);
  const from = match?.[1] === undefined ? low : read(match[1]);
  const isSingleValue = match?.[1] !== undefined && match[2] === undefined && match[3] === undefined;
  const to = isSingleValue ? from : match?.[2] === undefined ? high : read(match[2]);
  const step = Number(match?.[3] ?? 1);
  if (match === null || !(from >= low && to <= high && from <= to && step >= 1)) {
    throw new Error(
      `"${cron}" is not a cron expression that the local clock supports: "${part}" must be a value from ${low} to ${high}, a range, or *`,
    );
  }
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step);
}

/** Calls `fire` at the start of each minute that a cron matches, until the returned function is called. */
export function startClock(crons: string[], fire: (cron: string, minute: Date) => void): () => void {
  for (const cron of crons) isDue(cron, new Date(0)); // throw now if one is invalid
  let timer: NodeJS.Timeout;
  let next = 0;
  const scheduleNext = (): void => {
    // A timer may fire a millisecond early. Its minute must not fire twice because of that.
    next = Math.max(next + 60_000, (Math.floor(Date.now() / 60_000) + 1) * 60_000);
    timer = setTimeout(() => {
      const minute = new Date(next);
      for (const cron of crons) if (isDue(cron, minute)) fire(cron, minute);
      scheduleNext();
    }, next - Date.now());
  };
  scheduleNext();
  return () => clearTimeout(timer);
}
