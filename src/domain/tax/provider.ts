import { ApiError } from '../../base/errors.ts';
import { describeError, log } from '../../base/log.ts';
import type { Context } from '../../context.ts';
import type { TaxQuestion, TaxQuote } from '../../db/orders/tax-quotes.ts';
import { StripeCallError } from '../../stripe/client.ts';
import { calculateTax } from '../../stripe/tax.ts';

/**
 * Computes the tax of the lines and the shipping of one cart or order. The tenant's own rates need no provider, because
 * the database has them.
 * @throws StripeCallError; `permanent`: the same question will never get an answer
 */
export type TaxProvider = (context: Context, question: TaxQuestion) => Promise<TaxQuote>;

/** The provider of each `taxProvider` of a tenant except `table`. */
const providers: Record<TaxQuestion['provider'], TaxProvider> = { stripe: calculateTax };

const quote = (context: Context, question: TaxQuestion) => providers[question.provider](context, question);

function logFailure({ key, tenant }: TaxQuestion, error: StripeCallError): void {
  const line = { kind: 'tax', id: key.slice(0, 16), tenant, outcome: 'not_calculated' } as const;
  log({ ...line, durationMs: 0, dbCalls: 0, ...describeError(error) });
}

/** The answer for a cart that is shown; null if there is none, because showing a cart never fails for its tax. */
export async function tryQuote(context: Context, question: TaxQuestion): Promise<TaxQuote | null> {
  try {
    return await quote(context, question);
  } catch (error) {
    if (!(error instanceof StripeCallError)) throw error;
    logFailure(question, error);
    return null;
  }
}

async function requireQuote(context: Context, question: TaxQuestion): Promise<TaxQuote> {
  try {
    return await quote(context, question);
  } catch (error) {
    if (!(error instanceof StripeCallError)) throw error;
    logFailure(question, error);
    if (error.permanent || error.noAccess) {
      const detail = `Stripe Tax computes no tax for this address: ${error.code}.`;
      throw new ApiError('validation_failed', undefined, { faults: [{ pointer: '/shippingAddress', detail }] });
    }
    throw new ApiError(
      'unavailable',
      'Stripe Tax did not answer. Nothing was ordered: repeat with the same Idempotency-Key.',
    );
  }
}

type Asking = { answer: object & { taxQuestion?: TaxQuestion | null } };

/**
 * Runs a write that may need the tax of its tenant's provider. If it returns a question, it has changed nothing: the
 * provider is asked, and the write runs again with the answer. The database uses the answer only if its question is
 * still the same then.
 * @throws ApiError unavailable, validation_failed (no tax for this address)
 */
export async function runWithTax<T extends Asking>(
  context: Context,
  name: `${string}.${string}`,
  input: object,
  lines?: number,
): Promise<T> {
  const first = await context.db.run<T>(name, context.call, input, lines);
  const question = first.answer.taxQuestion;
  if (!question) return first;
  const taxQuote = await requireQuote(context, question);
  const second = await context.db.run<T>(name, context.call, { ...input, taxQuote }, lines);
  if (!second.answer.taxQuestion) return second;
  throw new ApiError('unavailable', 'The prices changed meanwhile. Nothing was ordered: repeat the request.');
}
