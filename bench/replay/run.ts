import { audit } from './audit/audit.ts';
import { checkPlatform, createClient, Stopped } from './client.ts';
import { findEarlierRuns, openDatabase, traceOf } from './database.ts';
import { connectKafka } from './kafka.ts';
import { connectBrokers } from './kafka-native.ts';
import type { ReplayOptions } from './options.ts';
import { makePlan, markOf, type Plan } from './plan.ts';
import { setHistoricalPrices } from './price-list.ts';
import { grouped, Progress, pounds } from './progress.ts';
import { reasons } from './rows.ts';
import { importProducts, placeOrders, type Run, returnCancelled } from './sell.ts';

export type Terminal = { write: (text: string) => void; rewrites: boolean };

/** The number of rows by outcome. @throws Error if they do not add up to all rows */
function describeRows(plan: Plan): string[] {
  const rows: [string, number][] = [
    [`lines of ${grouped(plan.orders)} orders, ${pounds(plan.pence)} GBP`, plan.counts.get('sale') ?? 0],
    ['lines of cancellations', plan.counts.get('cancellation') ?? 0],
  ];
  for (const [reason, text] of Object.entries(reasons)) {
    const count = plan.counts.get(reason as keyof typeof reasons);
    if (count !== undefined) rows.push([`rejected: ${text}`, count]);
  }
  const sum = rows.reduce((total, [, count]) => total + count, 0);
  if (sum !== plan.rows) throw new Error(`the outcomes of ${sum} rows are counted, but the file has ${plan.rows} rows`);
  const width = grouped(plan.rows).length;
  const lines = rows.map(([text, count]) => `  ${grouped(count).padStart(width)}  ${text}`);
  const notes = plan.notes.map((note) => `  ${note}`);
  return ['', `Rows of ${plan.path}`, ...lines, `  ${grouped(plan.rows)}  in total`, ...notes, ''];
}

/**
 * Replays a file and audits the result.
 * @returns the exit code: 0 everything is there exactly once, 1 something differs, 130 stopped by `signal`
 * @throws ReplayError an error for the user
 */
export async function replay(options: ReplayOptions, terminal: Terminal, signal: AbortSignal): Promise<0 | 1 | 130> {
  const progress = new Progress(terminal.write, terminal.rewrites);
  const kafka = options.kafkaBrokers ? connectBrokers(options.kafkaBrokers) : connectKafka(options.kafka);
  await checkPlatform(options.url);
  await kafka.topics();
  const database = await openDatabase(options.databaseUrl, options.key);
  try {
    progress.begin('File');
    const plan = await makePlan(options.file, options.limit, (share) =>
      progress.show(() => `${Math.round(share * 100)} % read`),
    );
    progress.end(
      `${grouped(plan.rows)} rows, ${grouped(plan.invoices.size)} invoices, ${grouped(plan.products.size)} SKUs`,
    );
    for (const line of describeRows(plan)) progress.say(line);
    progress.say(`Selling to ${options.url} as ${database.tenant}; its orders have organizationId ${markOf(plan)}\n`);

    const client = createClient({ url: options.url, key: options.key, trace: traceOf(plan), signal });
    const earlier = await findEarlierRuns(database, plan);
    const run: Run = { plan, earlier, client, concurrency: options.concurrency, progress, signal };
    await importProducts(run);
    await setHistoricalPrices(run);
    await placeOrders(run);
    await returnCancelled(run);

    progress.say('\nComparing database and Kafka with the file');
    const findings = await audit({ database, kafka, progress, signal }, plan);
    for (const line of ['', ...findings.lines(), '']) progress.say(line);
    const { differences } = findings;
    progress.say(
      differences === 0 ? 'Everything is there exactly once.' : `The audit found ${grouped(differences)} differences.`,
    );
    return differences === 0 ? 0 : 1;
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    progress.say('\nStopped. Nothing is lost: run the same command again to continue.');
    return 130;
  } finally {
    await database.client.end();
  }
}
