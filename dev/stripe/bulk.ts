import * as z from 'zod';
import type { Accounts } from './account.ts';
import { namedAccount } from './connect.ts';
import { draftIntent } from './intent-draft.ts';
import { Params } from './wire.ts';

/** Unpaid PaymentIntents with ids that the caller chooses, on `account`. A request holds at most 1 MB. */
export const bulkIntents = z.strictObject({
  account: z.string().optional(),
  intents: z.array(
    z.strictObject({
      id: z.string().regex(/^pi_\w+$/),
      amount: z.number().int().min(1),
      currency: z.string(),
      metadata: z.record(z.string(), z.string()).default({}),
    }),
  ),
});

/** Adds many unpaid intents in one request, for benchmarks. Emits no events. */
export function addIntents(accounts: Accounts, body: z.infer<typeof bulkIntents>): { added: number } {
  const { intents } = body;
  const account = namedAccount(accounts, body.account);
  for (const { id, amount, currency, metadata } of intents) {
    const draft = draftIntent(account, new Params({ amount: String(amount), currency }));
    const client_secret = draft.client_secret?.replace(draft.id, id) ?? null;
    account.store.put('payment_intent', { ...draft, id, client_secret, metadata });
  }
  return { added: intents.length };
}
