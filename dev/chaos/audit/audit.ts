import type { Books } from '../books.ts';
import type { Check, Finding } from '../finding.ts';
import { answerChecks } from './answers.ts';
import { campaignChecks } from './campaigns.ts';
import { eventChecks } from './events.ts';
import { moneyChecks } from './money.ts';
import { orderChecks } from './orders.ts';
import { outcomeChecks } from './outcomes.ts';
import { stockChecks } from './stock.ts';

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
