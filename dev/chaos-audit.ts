import { answerChecks } from './chaos-audit-answers.ts';
import { campaignChecks } from './chaos-audit-campaigns.ts';
import { eventChecks } from './chaos-audit-events.ts';
import { moneyChecks } from './chaos-audit-money.ts';
import { orderChecks } from './chaos-audit-orders.ts';
import { outcomeChecks } from './chaos-audit-outcomes.ts';
import { stockChecks } from './chaos-audit-stock.ts';
import type { Books } from './chaos-books.ts';
import type { Check, Finding } from './chaos-finding.ts';

/** Every promise that is held against the books after a run. */
export const checks: Check[] = [
  ...stockChecks,
  ...orderChecks,
  ...moneyChecks,
  ...outcomeChecks,
  ...eventChecks,
  ...campaignChecks,
  ...answerChecks,
];

/** Holds every promise against the books; what is found names the promise and whom it is about. */
export function audit(books: Books): Finding[] {
  return checks.flatMap(({ name, run }) => {
    const found: Finding[] = [];
    run(books, (about, said) => found.push({ check: name, about: [about].flat().filter(Boolean), said }));
    return found;
  });
}
