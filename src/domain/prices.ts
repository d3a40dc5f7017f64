import * as z from 'zod';
import { currency, id, money, reference, sku } from '../base/fields.ts';
import type { Context } from '../context.ts';
import type { WriteResult } from '../db/client.ts';
import { type ErrorResult, toApiError } from './refusals.ts';

const priceBreak = z.object({ minQuantity: z.number().int(), price: money });

/** The price that an order would get. */
export const foundPrice = z
  .object({
    sku,
    quantity: z.number().int(),
    currency: z.string(),
    price: money,
    source: z.object({
      level: z.enum(['organization', 'group', 'all', 'catalog']),
      list: z
        .object({ id, name: z.string() })
        .nullable()
        .meta({ description: 'null: the price of the product itself' }),
    }),
    minQuantity: z.number().int().meta({ description: 'The price applies from this many units on' }),
    nextBreak: priceBreak.nullable().meta({ description: 'The next larger quantity at which the price changes' }),
    breaks: z
      .array(priceBreak)
      .meta({ description: 'The quantities from which a unit costs another price, at most 100' }),
  })
  .meta({ id: 'Price' });

export const priceQuery = {
  quantity: z
    .string()
    .refine((written) => /^0*([1-9]\d{0,5}|1000000)$/.test(written), {
      error: 'must be a whole number from 1 to 1000000',
    })
    .transform(Number)
    .default(1)
    .meta({ type: 'integer', minimum: 1, maximum: 1_000_000 }),
  currency: currency.optional().meta({ description: "Default: the product's currency" }),
  customerId: reference.optional(),
  organizationId: reference.optional(),
};

type FoundPrice = z.infer<typeof foundPrice>;

/**
 * The price that an order would get now, and from which price list.
 * @throws ApiError not_found (no such product for sale), currency_mismatch, forbidden (a publishable key asks for the
 * price of a customer or an organization)
 */
export async function findPrice(
  context: Context,
  productId: string,
  query: z.output<z.ZodObject<typeof priceQuery>>,
): Promise<FoundPrice> {
  const { answer } = await context.db.run<WriteResult<Omit<FoundPrice, 'nextBreak'> | ErrorResult>>(
    'orders.find_price',
    context.call,
    { productId, ...query },
  );
  if ('error' in answer) throw toApiError(answer);
  return {
    sku: answer.sku,
    quantity: answer.quantity,
    currency: answer.currency,
    price: answer.price,
    source: { level: answer.source.level, list: answer.source.list },
    minQuantity: answer.minQuantity,
    nextBreak: answer.breaks.find(({ minQuantity }) => minQuantity > answer.quantity) ?? null,
    breaks: answer.breaks.map(({ minQuantity, price }) => ({ minQuantity, price })),
  };
}
