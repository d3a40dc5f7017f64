import type { Store, TaxCalculation } from './store.ts';
import { invalid, missing, type Params } from './wire.ts';

const PAGE = ['limit', 'starting_after', 'ending_before', 'created'] as const;

type Listed = { id: string; created: number };

function matchesCreated(params: Params): (item: Listed) => boolean {
  if (!params.has('created')) return () => true;
  if (typeof params.form.created === 'string') {
    const exact = params.integer('created');
    return (item) => item.created === exact;
  }
  const range = params.child('created');
  range?.allowOnly(['gt', 'gte', 'lt', 'lte']);
  const [gt, gte] = [range?.integer('gt') ?? -1, range?.integer('gte') ?? 0];
  const [lt, lte] = [range?.integer('lt') ?? Infinity, range?.integer('lte') ?? Infinity];
  return ({ created }) => created > gt && created >= gte && created < lt && created <= lte;
}

/** Returns one page of the items that match the filters, newest first. `kind` names them in "No such …" errors. */
export function listPage<T extends Listed>(
  params: Params,
  url: string,
  kind: string,
  items: T[],
  filters: Record<string, (item: T, value: string) => boolean> = {},
) {
  params.allowOnly([...PAGE, ...Object.keys(filters)]);
  const limit = params.integer('limit', 1) ?? 10;
  if (limit > 100) throw invalid('This value must be less than or equal to 100.', 'limit', 'parameter_invalid_integer');
  const created = matchesCreated(params);
  const matching = items.reverse().filter(
    (item) =>
      created(item) &&
      Object.entries(filters).every(([name, matches]) => {
        const value = params.optional(name);
        return value === undefined || matches(item, value);
      }),
  );
  const cursorIndex = (name: 'starting_after' | 'ending_before'): number | undefined => {
    const id = params.optional(name);
    if (id === undefined) return undefined;
    const index = matching.findIndex((item) => item.id === id);
    if (index < 0) throw missing(kind, id, name);
    return index;
  };
  const after = cursorIndex('starting_after');
  const before = cursorIndex('ending_before');
  if (after !== undefined && before !== undefined) {
    throw invalid('You cannot specify both starting_after and ending_before.', 'ending_before');
  }
  const start = before === undefined ? (after ?? -1) + 1 : Math.max(0, before - limit);
  const data = matching.slice(start, before ?? start + limit);
  const hasMore = before === undefined ? matching.length > start + limit : start > 0;
  return { object: 'list', url, has_more: hasMore, data };
}

/** Lines of a calculation, in the order of the request, unlike Stripe's other lists. */
export function listTaxLines({ id, lines }: TaxCalculation, from: number, limit: number) {
  const url = `/v1/tax/calculations/${id}/line_items`;
  const end = from + limit;
  return { object: 'list', data: lines.slice(from, end), has_more: end < lines.length, url };
}

const EXPANDABLE = new Set(
  'charge customer data latest_charge line_items payment_intent payment_method refunds'.split(' '),
);

/** Reads the paths of `expand[]`. Throws Stripe's error for a path that cannot be expanded. */
export function readExpand(params: Params): string[][] {
  return (params.list('expand') ?? []).map((whole) => {
    const path = whole.split('.');
    if (path.every((name) => EXPANDABLE.has(name))) return path;
    throw invalid(`This property cannot be expanded (${whole}).`, 'expand');
  });
}

function expandOne(store: Store, value: unknown, path: string[]): void {
  const [name, ...rest] = path;
  if (name === undefined || typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value) expandOne(store, item, path);
    return;
  }
  const object: Record<string, unknown> = Object.assign(value);
  if (object.object === 'charge' && name === 'refunds') {
    const data = store.all('refund').filter((refund) => refund.charge === object.id);
    object.refunds = { object: 'list', url: `/v1/charges/${object.id}/refunds`, has_more: false, data: data.reverse() };
  }
  if (object.object === 'tax.calculation' && name === 'line_items') {
    const calculation = store.get('tax_calculation', String(object.id));
    if (calculation !== undefined) object.line_items = listTaxLines(calculation, 0, 10);
  }
  const current = object[name];
  if (typeof current === 'string') object[name] = structuredClone(store.find(current) ?? current);
  expandOne(store, object[name], rest);
}

/** Returns a copy of the object with every path expanded. */
export function expand(store: Store, object: unknown, paths: string[][]): unknown {
  if (paths.length === 0) return object;
  const copy = structuredClone(object);
  for (const path of paths) expandOne(store, copy, path);
  return copy;
}
