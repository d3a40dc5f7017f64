import { setTimeout as sleep } from 'node:timers/promises';
import { audit } from './audit/audit.ts';
import { type Books, readBooks } from './books.ts';
import { chaosClient } from './client.ts';
import { callFaults } from './faults.ts';
import type { Finding } from './finding.ts';
import { inject } from './inject.ts';
import { Journal, member } from './journal.ts';
import { runLoad, stockShelves } from './load.ts';
import { type ChaosPlatform, startChaosPlatform } from './platform.ts';
import { countsOf, tellFindings } from './report.ts';
import { scheduleOf } from './schedule.ts';
import { nameOpen, type Open, settle } from './settle.ts';
import type { Shop } from './shop.ts';

export type ChaosOptions = {
  seed: number;
  /** How long the load and the faults go on. */
  loadMs: number;
  /** How many clients there are at a time. */
  people: number;
  /** How long it may take until nothing is open any more. */
  settleMs: number;
  /** How long clients go on asking what they have had no answer to, once the faults are over; a minute if not given. */
  lastWordMs?: number;
  /** The mean pause between two faults; null: no faults. */
  gapMs: number | null;
  bundle?: string;
  keep?: boolean;
  /** Called once the shelves are full, before the load: a test breaks something here. */
  before?: (platform: ChaosPlatform) => Promise<void>;
};

export type ChaosResult = {
  findings: Finding[];
  /** Null: it was stopped before it could be audited. */
  books: Books | null;
  journal: Journal;
  /** What is told in the end, line by line. */
  lines: string[];
  dir: string;
};

const everyMs = { progress: 5_000, cron: 4_000 };

const tellOpen = (open: Open): string =>
  Object.entries(open)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');

/**
 * One run: the platform, a load and faults by the seed, then peace until nothing is open, then the audit. The same seed
 * plans the same stories and the same faults at the same times; how they interleave is up to the machine. Nothing of it
 * is left when it resolves, a folder that was to be kept apart. `say`: a line of progress.
 */
export async function runChaos(
  options: ChaosOptions,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<ChaosResult> {
  const journal = new Journal();
  const faults = callFaults(options.seed, journal);
  const platform = await startChaosPlatform({
    seed: options.seed,
    ...(options.bundle === undefined ? {} : { bundle: options.bundle }),
    ...(options.keep === undefined ? {} : { keep: options.keep }),
    neonFault: faults.neon,
    kafkaFault: faults.kafka,
  });
  try {
    return await play(options, say, signal, platform, journal, faults);
  } finally {
    await platform.close();
  }
}

async function play(
  options: ChaosOptions,
  say: (line: string) => void,
  signal: AbortSignal,
  platform: ChaosPlatform,
  journal: Journal,
  faults: ReturnType<typeof callFaults>,
): Promise<ChaosResult> {
  const { seed, loadMs, gapMs } = options;
  const closing = new AbortController();
  const client = chaosClient(platform.worker.url, journal);
  const shop: Shop = {
    seed,
    platform,
    client,
    journal,
    skus: {},
    get closing() {
      return closing.signal.aborted;
    },
  };
  await stockShelves(shop);
  await options.before?.(platform);

  const started = Date.now();
  const schedule = gapMs === null ? [] : scheduleOf(seed, loadMs, gapMs);
  say(`${schedule.length} faults are planned over ${Math.round(loadMs / 1000)} s, seed ${seed}`);
  if (gapMs !== null) {
    await platform.emulator('POST', 'webhooks', { lose: 0.15, duplicate: 0.2, reorder: 0.25, reorderMs: 2_000, seed });
  }
  const restore = inject(platform, shop, faults, schedule);
  const crons = setInterval(() => {
    platform.worker.cron('* * * * *', Date.now()).catch((error: Error) => journal.count('crons', error.message));
  }, everyMs.cron);
  const requests = () => journal.asked.reduce((sum, { tries }) => sum + tries.length, 0);
  const tell = setInterval(() => {
    const seconds = String(Math.round((Date.now() - started) / 1000)).padStart(5);
    say(
      `${seconds} s  ${journal.total('stories')} stories, ${requests()} requests, ${journal.total('planned')} faults`,
    );
  }, everyMs.progress);
  try {
    const load = runLoad(shop, options.people);
    await Promise.race([sleep(loadMs, undefined, { signal }).catch(() => undefined), load]);
    closing.abort();
    await restore();
    if (!platform.worker.running) await platform.worker.start();
    say('faults are over; clients hear their last answers');
    await client.finish(signal.aborted ? 0 : (options.lastWordMs ?? 60_000));
    await load;
  } finally {
    closing.abort();
    clearInterval(crons);
    clearInterval(tell);
    await restore();
  }
  if (signal.aborted) return { findings: [], books: null, journal, lines: ['stopped'], dir: platform.dir };
  return conclude(options, say, signal, platform, journal);
}

async function conclude(
  options: ChaosOptions,
  say: (line: string) => void,
  signal: AbortSignal,
  platform: ChaosPlatform,
  journal: Journal,
): Promise<ChaosResult> {
  const { open, turns, clock } = await settle(
    platform,
    journal,
    options.settleMs,
    (left) => say(`        ${tellOpen(left) || 'nothing is open'}`),
    signal,
  );
  if (signal.aborted) return { findings: [], books: null, journal, lines: ['stopped'], dir: platform.dir };
  const webhooks = await platform.emulator('GET', 'webhooks');
  for (const name of ['delivered', 'attempts', 'duplicated', 'reordered'] as const) {
    journal.count('webhooks', name, Number(member(webhooks, name) ?? 0));
  }
  const lost = member(webhooks, 'lost');
  journal.count('webhooks', 'lost', Array.isArray(lost) ? lost.length : 0);
  const books = await readBooks(platform, journal.asked, clock);
  const findings = audit(books);
  if (Object.keys(open).length > 0) {
    findings.unshift({
      check: 'everything comes to an end',
      about: [],
      said: `after ${turns} turns: ${tellOpen(open)}`,
    });
    for (const { name, id } of await nameOpen(platform)) {
      findings.splice(1, 0, { check: 'everything comes to an end', about: [id], said: `it is among the ${name}` });
    }
  }
  const operations = [...new Set(journal.asked.map(({ operation }) => operation))].sort();
  const lines = [...countsOf(books, journal, operations), ...tellFindings(findings, books, journal)];
  return { findings, books, journal, lines, dir: platform.dir };
}
