import * as z from 'zod';
import type { Budget } from '../base/budget.ts';
import { ApiError } from '../base/errors.ts';
import { count, sku, text, time, unitsMoved } from '../base/fields.ts';
import type { Context } from '../context.ts';
import { type StockRow, stockBySku, stockPage } from '../db/inventory/queries.ts';
import type { Event } from './events.ts';
import { toMessage } from './events.ts';
import { type ErrorResult, toApiError } from './refusals.ts';

export const stock = z
  .object({
    sku,
    quantity: z.number().int().meta({ description: 'Units that can still be sold' }),
    reserved: z.number().int().meta({ description: 'Units held by orders that are not paid yet' }),
    version: z.number().int(),
    updatedAt: time,
  })
  .meta({ id: 'Stock' });

export type Stock = z.infer<typeof stock>;

export const stockCount = z.strictObject({ quantity: count });

export const stockAdjustment = z.strictObject({ delta: unitsMoved, reason: text(255) });

export const toStock = (row: StockRow): Stock => ({
  sku: row.sku,
  quantity: row.quantity,
  reserved: row.reserved,
  version: row.version,
  updatedAt: row.updatedAt,
});

async function write(context: Context, name: 'set_stock' | 'adjust_stock', input: unknown) {
  const written = await context.db.run<{ tenant: string; answer: StockRow | ErrorResult; replayed: boolean }>(
    `inventory.${name}`,
    context.call,
    input,
  );
  if ('error' in written.answer) throw toApiError(written.answer, written.replayed);
  return { stock: toStock(written.answer), tenant: written.tenant, replayed: written.replayed };
}

/**
 * Sets what can be sold of a SKU to an absolute count; what is held stays held.
 * @throws ApiError not_found, version_mismatch (`ifMatch` are the versions that the client allows it to have by then),
 *   validation_failed (with what orders hold it would exceed what a count can be)
 */
export const setStock = (context: Context, of: string, quantity: number, ifMatch: number[] | undefined) =>
  write(context, 'set_stock', { sku: of, quantity, ifMatch });

/**
 * Adds `delta` units (negative: takes them out) in one conditional update, whose row decides.
 * @throws ApiError not_found, insufficient_inventory (it would go below zero), validation_failed (with what orders hold it
 *   would exceed what a count can be)
 */
export const adjustStock = (context: Context, of: string, change: z.infer<typeof stockAdjustment>) =>
  write(context, 'adjust_stock', { sku: of, ...change });

/** @throws ApiError not_found */
export async function readStock(context: Context, of: string): Promise<Stock> {
  const { rows } = await context.db.read(context.call, 'inventory:read', (db) => stockBySku(db, of));
  if (!rows[0]) throw new ApiError('not_found');
  return toStock(rows[0].stock);
}

/** Stock by SKU; one more than `most` tells that there is a next page. */
export async function listStock(context: Context, after: string | undefined, most: number): Promise<Stock[]> {
  const { rows } = await context.db.read(context.call, 'inventory:read', (db) => stockPage(db, after, most));
  return rows.map((row) => toStock(row.stock));
}

/**
 * What a lost message would leave behind: holds that have been pending for two minutes are decided, and orders that never
 * heard of their refusal are told of.
 */
export async function decideOverdueHolds(context: Context, budget: Budget) {
  const input = { idleSeconds: 120, holdSeconds: context.settings.RESERVATION_TTL_SECONDS, limit: 200 };
  let total = 0;
  const changed: { tenant: string; skus: string[] }[] = [];
  const refused = new Map<string, Set<string>>();
  while (budget.spend()) {
    const { decided, tenants } = await context.db.run<{
      decided: number;
      tenants: { tenant: string; skus: string[]; refused: string[] }[];
    }>('inventory.decide_forgotten', context.call, input);
    total += decided;
    for (const { tenant, skus, refused: orders } of tenants) {
      changed.push({ tenant, skus });
      refused.set(tenant, new Set([...(refused.get(tenant) ?? []), ...orders]));
    }
    if (decided === 0) break;
  }
  return { decided: total, changed, refused };
}

/**
 * Decides the holds of orders that were placed with `Prefer: respond-async`: one call for all of one tenant's.
 * Applied once for each event id, whatever is delivered how often; an order that is cancelled by then gets none.
 * @returns the SKUs whose stock has changed
 */
export async function reserveOrders(context: Context, tenant: string, created: Event[]): Promise<string[]> {
  const { skus } = await context.db.run<{ decided: number; skus: string[] }>('inventory.reserve_orders', context.call, {
    tenant,
    holdSeconds: context.settings.RESERVATION_TTL_SECONDS,
    messages: created.map(toMessage),
  });
  return skus;
}
