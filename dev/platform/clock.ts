import { readFile } from 'node:fs/promises';

const names: Record<string, number> = {
  ...Object.fromEntries(['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'].map((name, i) => [name, i])),
  ...Object.fromEntries(
    ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'].map((name, i) => [
      name,
      i + 1,
    ]),
  ),
};

const ranges = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 7],
] as const;

/** The cron expressions of a wrangler.toml, whose `crons` is a list of strings. */
export async function readCrons(path: string): Promise<string[]> {
  const text = (await readFile(path, 'utf8')).replaceAll(/^\s*#.*$/gm, '');
  const list = /^\s*crons\s*=\s*\[([^\]]*)\]/m.exec(text)?.[1] ?? '';
  return [...list.matchAll(/"([^"]*)"|'([^']*)'/g)].map((match) => match[1] ?? match[2] ?? '');
}

/** Whether a cron expression of five fields means this minute, in UTC. Throws on an expression that it cannot read. */
export function isDue(cron: string, at: Date): boolean {
  const fields = cron.trim().split(/\s+/);
  if (fields.length !== 5) throw new Error(`"${cron}" has not the five fields of a cron expression`);
  const now = [at.getUTCMinutes(), at.getUTCHours(), at.getUTCDate(), at.getUTCMonth() + 1, at.getUTCDay()];
  const met = fields.map((field, i) => {
    const [low, high] = ranges[i] ?? [0, 0];
    const values = field.split(',').flatMap((part) => readPart(part, low, high, cron));
    return values.includes(now[i] ?? -1) || (i === 4 && now[4] === 0 && values.includes(7));
  });
  // Of two days, one of the month and one of the week, either will do.
  const bothDays = fields[2] !== '*' && fields[4] !== '*';
  const day = bothDays ? met[2] || met[4] : met[2] && met[4];
  return Boolean(met[0] && met[1] && met[3] && day);
}

function readPart(part: string, low: number, high: number, cron: string): number[] {
  const match = /^(?:\*|(\w+)(?:-(\w+))?)(?:\/(\d+))?$/.exec(part);
  const read = (text: string): number => names[text.toUpperCase()] ?? Number(text);
  const from = match?.[1] === undefined ? low : read(match[1]);
  const alone = match?.[1] !== undefined && match[2] === undefined && match[3] === undefined;
  const to = alone ? from : match?.[2] === undefined ? high : read(match[2]);
  const step = Number(match?.[3] ?? 1);
  if (match === null || !(from >= low && to <= high && from <= to && step >= 1)) {
    throw new Error(`"${cron}" is a cron expression that the local clock cannot read`);
  }
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step);
}

/** Calls `fire` at the beginning of each minute that a cron means, until the returned function is called. */
export function startClock(crons: string[], fire: (cron: string, minute: Date) => void): () => void {
  for (const cron of crons) isDue(cron, new Date(0)); // one that cannot be read is told at once
  let timer: NodeJS.Timeout;
  let next = 0;
  const wait = (): void => {
    // A timer may come a millisecond early, and its minute must not come twice for that.
    next = Math.max(next + 60_000, (Math.floor(Date.now() / 60_000) + 1) * 60_000);
    timer = setTimeout(() => {
      const minute = new Date(next);
      for (const cron of crons) if (isDue(cron, minute)) fire(cron, minute);
      wait();
    }, next - Date.now());
  };
  wait();
  return () => clearTimeout(timer);
}
