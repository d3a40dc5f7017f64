/** The cell without a name in keys, messages and Stripe's metadata: the database of `DATABASE_URL`. */
export const defaultCell = 'default';

const nameFormat = /^[a-z][a-z0-9]{1,11}$/;
/** Words that stand before a cell's name in a key, and the name of the default cell. */
const reservedNames = ['live', 'test', 'dev', defaultCell];

/** Whether a text may be the name of a cell other than the default cell. */
export const isCellName = (text: string): boolean => nameFormat.test(text) && !reservedNames.includes(text);

/** The field `cell` of a message, a log line or an object at Stripe. JSON omits it for the default cell. */
export const cellAttribute = (cell: string): string | undefined => (cell === defaultCell ? undefined : cell);

/**
 * `tenant`, or `tenant@cell` outside of the default cell, because a tenant's id is unique only in its cell. Everything
 * that is shared by all cells (memory, caches, stored files) names tenants like this.
 */
export type QualifiedTenant = string & { readonly qualified: never };

export const qualifyTenant = (tenant: string, cell: string): QualifiedTenant =>
  (cell === defaultCell ? tenant : `${tenant}@${cell}`) as QualifiedTenant;

/** The tenant's id without its cell. */
export const tenantIdOf = (tenant: QualifiedTenant): string => tenant.split('@', 1)[0] ?? tenant;

/**
 * The cell that a key names: `sk_live_eu1_…` is a key of the cell `eu1`. A key whose part there is not the name of a
 * configured cell belongs to the default cell. The random part of a key has no underscore.
 */
export function cellOfKey(key: string, cells: Pick<ReadonlyMap<string, unknown>, 'has'>): string {
  const name = /^(?:[sp]k|cs)_[a-z]+_([a-z0-9]+)_/.exec(key)?.[1];
  return name !== undefined && isCellName(name) && cells.has(name) ? name : defaultCell;
}
