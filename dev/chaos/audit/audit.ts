import type { Books } from '../books.ts';
import type { Check, Finding } from '../finding.ts';
import { amountChecks } from './amounts.ts';
import { responseChecks } from './answers.ts';
import { campaignChecks } from './campaigns.ts';
import { cartChecks } from './carts.ts';
import { discountChecks } from './discounts.ts';
import { eventChecks } from './events.ts';
import { joinerChecks } from './joiners.ts';
import { moneyChecks } from './money.ts';
import { orderChecks } from './orders.ts';
import { outcomeChecks } from './outcomes.ts';
import { placeTaxChecks, poolChecks } from './pools.ts';
import { stockChecks } from './stock.ts';
import { teamChecks } from './teams.ts';
import { waitingChecks } from './waiting.ts';

/** All promises that the audit checks after a run. */
export const checks: Check[] = [
  ...stockChecks,
  ...orderChecks,
  ...amountChecks,
  ...discountChecks,
  ...cartChecks,
  ...moneyChecks,
  ...outcomeChecks,
  ...eventChecks,
  ...campaignChecks,
  ...poolChecks,
  ...placeTaxChecks,
  ...waitingChecks,
  ...joinerChecks,
  ...teamChecks,
  ...responseChecks,
];

/** Checks every promise against the books. Each finding names the promise and its subjects. */
export function audit(books: Books): Finding[] {
  return checks.flatMap(({ name, run }) => {
    const found: Finding[] = [];
    run(books, (subjects, message) =>
      found.push({ check: name, subjects: [subjects].flat().filter(Boolean), message }),
    );
    return found;
  });
}
