import { outcomes } from './audit/outcomes.ts';
import type { Books } from './books.ts';
import type { Finding } from './finding.ts';
import { groupBy } from './finding.ts';
import { formatHistory } from './history.ts';
import type { Journal } from './journal.ts';

const maxHistories = 5;
const maxFindings = 40;

const table = (title: string, rows: readonly (readonly [string, number])[]): string[] =>
  rows.length === 0 ? [] : [title, ...rows.map(([name, count]) => `${String(count).padStart(9)}  ${name}`)];

/** Counts of the requests, the faults and the resulting rows. */
export function formatCounts(books: Books, journal: Journal, operations: readonly string[]): string[] {
  const countByStatus = (rows: readonly { status: string }[]) =>
    [...groupBy(rows, (row) => row.status)].map(([name, all]) => `${all.length} ${name}`).join(', ');
  const published = new Set(books.records.map((record) => record.id)).size;
  return [
    ...table('Stories', journal.counts('stories')),
    'Attempts of requests, by operation and result',
    ...operations.map((operation) => {
      const results = journal.counts(operation).map(([name, count]) => `${count} × ${name}`);
      return `${String(journal.total(operation)).padStart(9)}  ${operation}: ${results.join(', ')}`;
    }),
    ...table('Retries after an attempt without a final response', journal.counts('repeated')),
    ...table('Repeats and replays', journal.counts('repeats and replays')),
    ...table('Buyers at Stripe', journal.counts('buyers at Stripe')),
    ...table('Dashboard actions of stories', journal.counts('dashboard actions of stories')),
    ...table('Injected faults', journal.counts('faults')),
    ...table('Faults that could not be injected', journal.counts('faults that could not be injected')),
    ...table('Webhooks of the Stripe emulator', journal.counts('webhooks')),
    'Results',
    `           orders: ${books.orders.length} (${countByStatus(books.orders)})`,
    `           payments: ${books.payments.length} (${countByStatus(books.payments)}); ${books.refunds.length} refunds (${countByStatus(books.refunds)})`,
    `           carts: ${books.carts.length} (${countByStatus(books.carts)}); ${books.uses.length} uses of limited discounts; ${books.lineRefunds.length} refunds of lines`,
    `           campaigns: ${books.campaigns.length} (${countByStatus(books.campaigns)}), ` +
      `${books.participants.length} places; ${books.teams.length} teams (${countByStatus(books.teams)})`,
    `           ${books.intents.length} intents at Stripe: ${tally([...outcomes(books).values()])}`,
    `           ${books.events.length} events; ${books.records.length} records in Kafka, ${books.records.length - published} of them duplicates`,
    `           ${books.inbox.length} messages and webhooks in the inbox; ${books.adjustments.length} entries in the stock ledger`,
  ];
}

const tally = (names: readonly string[]): string =>
  [...groupBy(names, (name) => name)].map(([name, all]) => `${all.length} × ${name}`).join('; ');

/** Each finding in one line. A log that keeps only the beginning of a long message keeps these. */
export const listFindings = (findings: readonly Finding[]): string[] =>
  findings.map(({ check, message, subjects }) => [`${check}: ${message}`, ...subjects].join(' | '));

/** Formats the findings by promise, and the histories of the first few. */
export function formatFindings(findings: readonly Finding[], books: Books, journal: Journal): string[] {
  const shown = new Set<string>();
  const lines: string[] = [];
  for (const [check, all] of groupBy(findings, (finding) => finding.check)) {
    lines.push(`✗ Broken ${all.length} times: ${check}`);
    for (const { subjects, message } of all.slice(0, maxFindings)) lines.push(`    ${subjects.join(' ')}: ${message}`);
    if (all.length > maxFindings) lines.push(`    … ${all.length - maxFindings} more`);
  }
  for (const finding of findings) {
    const subject = finding.subjects.join(' ');
    if (shown.has(subject) || shown.size === maxHistories) continue;
    shown.add(subject);
    lines.push('', `History of ${subject} (${finding.message})`, ...formatHistory(finding, books, journal.incidents));
  }
  return lines;
}
