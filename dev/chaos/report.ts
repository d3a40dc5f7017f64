import { outcomes } from './audit/outcomes.ts';
import type { Books } from './books.ts';
import type { Finding } from './finding.ts';
import { groupBy } from './finding.ts';
import { historyOf } from './history.ts';
import type { Journal } from './journal.ts';

const mostHistories = 5;
const mostFindings = 40;

const table = (title: string, rows: readonly (readonly [string, number])[]): string[] =>
  rows.length === 0 ? [] : [title, ...rows.map(([name, count]) => `${String(count).padStart(9)}  ${name}`)];

/** What was done and what came of it, in numbers. */
export function countsOf(books: Books, journal: Journal, operations: readonly string[]): string[] {
  const status = (rows: readonly { status: string }[]) =>
    [...groupBy(rows, (row) => row.status)].map(([name, all]) => `${all.length} ${name}`).join(', ');
  const published = new Set(books.records.map((record) => record.id)).size;
  return [
    ...table('Stories', journal.counts('stories')),
    'Attempts of requests, by what was heard',
    ...operations.map((operation) => {
      const heard = journal.counts(operation).map(([name, count]) => `${count} × ${name}`);
      return `${String(journal.total(operation)).padStart(9)}  ${operation}: ${heard.join(', ')}`;
    }),
    ...table('Repeated by the client, having heard nothing', journal.counts('repeated')),
    ...table('Asked', journal.counts('asked')),
    ...table('Buyers at Stripe', journal.counts('buyers at Stripe')),
    ...table('In the dashboard, by stories', journal.counts('in the dashboard, by stories')),
    ...table('Faults that hit a call, a message or a part', journal.counts('faults')),
    ...table('Faults that did not come off', journal.counts('faults that did not come off')),
    ...table('Webhooks by the Stripe stand-in', journal.counts('webhooks')),
    'Books',
    `           orders: ${books.orders.length} (${status(books.orders)})`,
    `           payments: ${books.payments.length} (${status(books.payments)}); ${books.refunds.length} refunds (${status(books.refunds)})`,
    `           campaigns: ${books.campaigns.length} (${status(books.campaigns)}), ${books.participants.length} places`,
    `           ${books.intents.length} intents at Stripe: ${tally([...outcomes(books).values()])}`,
    `           ${books.events.length} events; ${books.records.length} records in Kafka, ${books.records.length - published} of them duplicates`,
    `           ${books.inbox.length} messages and webhooks applied once; ${books.adjustments.length} entries in the stock ledger`,
  ];
}

const tally = (names: readonly string[]): string =>
  [...groupBy(names, (name) => name)].map(([name, all]) => `${all.length} × ${name}`).join('; ');

/** The findings, each promise with how often it was broken, and the histories of the first few. */
export function tellFindings(findings: readonly Finding[], books: Books, journal: Journal): string[] {
  const told = new Set<string>();
  const lines: string[] = [];
  for (const [check, all] of groupBy(findings, (finding) => finding.check)) {
    lines.push(`✗ ${check}: ${all.length} times not so`);
    for (const { about, said } of all.slice(0, mostFindings)) lines.push(`    ${about.join(' ')}: ${said}`);
    if (all.length > mostFindings) lines.push(`    … ${all.length - mostFindings} more`);
  }
  for (const finding of findings) {
    const whom = finding.about.join(' ');
    if (told.has(whom) || told.size === mostHistories) continue;
    told.add(whom);
    lines.push('', `History of ${whom} (${finding.said})`, ...historyOf(finding, books, journal.incidents));
  }
  return lines;
}
