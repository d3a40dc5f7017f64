import type * as z from 'zod';
import { makeCartToken } from '../../base/api-keys.ts';
import type { Budget } from '../../base/budget.ts';
import { newId } from '../../base/ids.ts';
import { sha256 } from '../../base/sha256.ts';
import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';
import type { CartRow } from '../../db/orders/carts/row.ts';
import { type ErrorResult, runWrite, toApiError } from '../refusals.ts';
import { tryQuote } from '../tax/provider.ts';
import { type Cart, type cartChange, type newCart, toCart } from './cart.ts';

/** A cart with the version that its ETag shows. */
export type VersionedCart = { cart: Cart; version: number; replayed: boolean };

export const cartSecondsOf = ({ settings }: Context) => ({ cartSeconds: settings.CART_TTL_SECONDS });

/**
 * Makes a cart. The database gets only the SHA-256 of its token, so nothing that is stored contains the token, and a
 * repetition has null in its place.
 * @throws ApiError forbidden (customerId or organizationId without a secret key), validation_failed (no currency)
 */
export async function createCart(context: Context, input: z.infer<typeof newCart>) {
  const cartId = newId(context.now());
  const tokenIn = makeCartToken();
  const { answer, replayed } = await context.db.run<WriteResult<CartRow | ErrorResult>>(
    'orders.create_cart',
    context.call,
    // The token names its cell. If the tenant has moved, only the call itself finds out where it lives.
    (cell: string) => ({ ...input, ...cartSecondsOf(context), id: cartId, tokenHash: sha256(tokenIn(cell)) }),
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  // Compared by id: if our own first attempt was lost, its stored answer is of this very cart.
  const token = answer.id === cartId ? tokenIn(context.db.cell) : null;
  return { cart: { ...toCart(answer), token }, version: answer.version, replayed };
}

/** @throws ApiError not_found (also if the caller may not reach it) */
export const readCart = (context: Context, id: string) => run(context, 'read_cart', { id }, true);

/**
 * The cart as it is shown. If it has a new question for its tenant's tax provider, this asks the provider and stores
 * the answer with the cart in a second call. Later responses then need neither. Without an answer the tax is null, with
 * a message.
 */
export async function withTax(context: Context, row: CartRow, isRead: boolean): Promise<CartRow> {
  const taxQuote = row.taxQuestion && (await tryQuote(context, row.taxQuestion));
  if (!taxQuote) return row;
  const input = { id: row.id, taxQuote, isRead };
  const { answer } = await runWrite<CartRow>(context, 'orders.quote_cart', input);
  return answer;
}

/**
 * Changes only the given fields. `items` replaces all of them; null clears a field.
 * @throws ApiError not_found, version_mismatch, cart_not_open (field orderId), validation_failed (too many lines)
 */
export const updateCart = (
  context: Context,
  id: string,
  { discountCodes, metadata, ...change }: z.infer<typeof cartChange>,
  ifMatch: number[] | undefined,
) =>
  run(context, 'update_cart', {
    ...{ id, ifMatch },
    change: {
      ...change,
      ...(discountCodes !== undefined && { discountCodes: discountCodes ?? [] }),
      ...(metadata !== undefined && { metadata: metadata ?? {} }),
    },
  });

/**
 * Sets how many units of a SKU are in the cart. 0 removes its line; without a line it changes nothing.
 * @throws ApiError not_found, version_mismatch, cart_not_open (field orderId), validation_failed (too many lines)
 */
export const setItem = (
  context: Context,
  id: string,
  sku: string,
  quantity: number,
  ifMatch: number[] | undefined,
): Promise<VersionedCart> => run(context, 'set_cart_item', { id, sku, quantity, ifMatch });

/** Ends an open cart. A cart that is cancelled already stays as it is. @throws ApiError not_found, cart_not_open */
export const cancelCart = (context: Context, id: string) => run(context, 'cancel_cart', { id });

async function run(
  context: Context,
  name: 'read_cart' | 'update_cart' | 'set_cart_item' | 'cancel_cart',
  input: object,
  isRead = false,
): Promise<VersionedCart> {
  const { answer, replayed } = await runWrite<CartRow>(context, `orders.${name}`, {
    ...input,
    ...cartSecondsOf(context),
  });
  const row = replayed ? answer : await withTax(context, answer, isRead);
  return { cart: toCart(row), version: row.version, replayed };
}

/**
 * Ends expired carts. Each batch of 200 is one transaction.
 * @returns how many carts have expired
 */
export async function expireCarts(context: Context, budget: Budget): Promise<number> {
  let total = 0;
  while (budget.spend()) {
    const { expired, checked } = await context.db.run<{ expired: number; checked: number }>(
      'orders.expire_carts',
      context.call,
      { limit: 200 },
    );
    total += expired;
    if (checked === 0) break;
  }
  return total;
}
