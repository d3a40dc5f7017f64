import { setTimeout as sleep } from 'node:timers/promises';
import { audit } from './audit/audit.ts';
import { type Books, readBooks } from './books.ts';
import { chaosClient } from './client.ts';
import { callFaults } from './faults.ts';
import type { Finding } from './finding.ts';
import { inject } from './inject.ts';
import { Journal, member } from './journal.ts';
import { createProducts, runLoad, type StoryKind } from './load.ts';
import { type ChaosPlatform, startChaosPlatform } from './platform.ts';
import { formatCounts, formatFindings } from './report.ts';
import { findStoredTokens } from './sale-books.ts';
import { planFaults } from './schedule.ts';
import { listOpen, type OpenWork, settle } from './settle.ts';
import type { Shop } from './shop.ts';

export type ChaosOptions = {
  seed: number;
  /** The duration of the load and the faults. */
  loadMs: number;
  /** The number of clients at a time. */
  people: number;
  /** The kinds of stories that they play; default: all, in the usual shares. */
  stories?: readonly StoryKind[];
  /** How long to wait, at most, until no work is open. */
  settleMs: number;
  /** How long clients retry requests without a response after the faults; default: a minute. */
  finalRetryMs?: number;
  /** The mean pause between two faults; null: no faults. */
  gapMs: number | null;
  bundle?: string;
  keep?: boolean;
  /** Called after the products are created and before the load. Tests break something here. */
  before?: (platform: ChaosPlatform) => Promise<void>;
};

export type ChaosResult = {
  findings: Finding[];
  /** Null if the run was stopped before the audit. */
  books: Books | null;
  journal: Journal;
  /** The lines of the report. */
  lines: string[];
  dir: string;
};

const intervalsMs = { progress: 5_000, cron: 4_000 };

const formatOpen = (open: OpenWork): string =>
  Object.entries(open)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');

/**
 * Runs the platform with the load and the faults of a seed, waits without faults until no work is open, and audits the
 * result. Stops the platform and removes its folder (unless `keep`) before it resolves. `print` gets lines of progress.
 */
export async function runChaos(
  options: ChaosOptions,
  print: (line: string) => void,
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
    return await playAndAudit(options, print, signal, platform, journal, faults);
  } finally {
    await platform.close();
  }
}

async function playAndAudit(
  options: ChaosOptions,
  print: (line: string) => void,
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
    shippingOptions: {},
    get closing() {
      return closing.signal.aborted;
    },
  };
  await createProducts(shop);
  await options.before?.(platform);

  const started = Date.now();
  const schedule = gapMs === null ? [] : planFaults(seed, loadMs, gapMs);
  print(`Seed ${seed}: ${schedule.length} faults planned over ${Math.round(loadMs / 1000)} s`);
  if (gapMs !== null) {
    await platform.emulator('POST', 'webhooks', { lose: 0.15, duplicate: 0.2, reorder: 0.25, reorderMs: 2_000, seed });
  }
  const restore = inject(platform, shop, faults, schedule);
  const crons = setInterval(() => {
    platform.worker.cron('* * * * *', Date.now()).catch((error: Error) => journal.count('crons', error.message));
  }, intervalsMs.cron);
  const countAttempts = () => journal.requests.reduce((sum, { attempts }) => sum + attempts.length, 0);
  const progress = setInterval(() => {
    const seconds = String(Math.round((Date.now() - started) / 1000)).padStart(5);
    print(
      `${seconds} s  ${journal.total('stories')} stories, ${countAttempts()} requests, ${journal.total('planned')} faults`,
    );
  }, intervalsMs.progress);
  try {
    const load = runLoad(shop, options.people, options.stories);
    await Promise.race([sleep(loadMs, undefined, { signal }).catch(() => undefined), load]);
    closing.abort();
    await restore();
    if (!platform.worker.running) await platform.worker.start();
    print('The faults are over. Clients retry their last requests.');
    await client.finish(signal.aborted ? 0 : (options.finalRetryMs ?? 60_000));
    await load;
  } finally {
    closing.abort();
    clearInterval(crons);
    clearInterval(progress);
    await restore();
  }
  if (signal.aborted)
    return { findings: [], books: null, journal, lines: ['Stopped before the audit.'], dir: platform.dir };
  return settleAndAudit(options, print, signal, platform, journal);
}

async function settleAndAudit(
  options: ChaosOptions,
  print: (line: string) => void,
  signal: AbortSignal,
  platform: ChaosPlatform,
  journal: Journal,
): Promise<ChaosResult> {
  const storedTokens = await findStoredTokens(platform);
  const { open, turns, clock } = await settle(
    platform,
    journal,
    options.settleMs,
    (open) => print(`        open: ${formatOpen(open) || 'nothing'}`),
    signal,
  );
  if (signal.aborted)
    return { findings: [], books: null, journal, lines: ['Stopped before the audit.'], dir: platform.dir };
  const webhooks = await platform.emulator('GET', 'webhooks');
  for (const name of ['delivered', 'attempts', 'duplicated', 'reordered'] as const) {
    journal.count('webhooks', name, Number(member(webhooks, name) ?? 0));
  }
  const lost = member(webhooks, 'lost');
  journal.count('webhooks', 'lost', Array.isArray(lost) ? lost.length : 0);
  const books = await readBooks(platform, journal.requests, clock, storedTokens);
  const findings = audit(books);
  if (Object.keys(open).length > 0) {
    findings.unshift({
      check: 'no work stays open',
      subjects: [],
      message: `after ${turns} runs of the crons: ${formatOpen(open)}`,
    });
    for (const { name, id } of await listOpen(platform)) {
      findings.splice(1, 0, { check: 'no work stays open', subjects: [id], message: `it is one of the ${name}` });
    }
  }
  const operations = [...new Set(journal.requests.map(({ operation }) => operation))].sort();
  const lines = [...formatCounts(books, journal, operations), ...formatFindings(findings, books, journal)];
  return { findings, books, journal, lines, dir: platform.dir };
}
