import type { Store } from './store.ts';
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
  range?.only(['gt', 'gte', 'lt', 'lte']);
  const [gt, gte] = [range?.integer('gt') ?? -1, range?.integer('gte') ?? 0];
  const [lt, lte] = [range?.integer('lt') ?? Infinity, range?.integer('lte') ?? Infinity];
  return ({ created }) => created > gt && created >= gte && created < lt && created <= lte;
}

/** One page, newest first, of the items that the filters leave. `kind` names them in "No such …". */
export function listPage<T extends Listed>(
  params: Params,
  url: string,
  kind: string,
  items: T[],
  filters: Record<string, (item: T, value: string) => boolean> = {},
) {
  params.only([...PAGE, ...Object.keys(filters)]);
  const limit = params.integer('limit', 1) ?? 10;
  if (limit > 100) throw invalid('This value must be less than or equal to 100.', 'limit', 'parameter_invalid_integer');
  const created = matchesCreated(params);
  const kept = items.reverse().filter(
    (item) =>
      created(item) &&
      Object.entries(filters).every(([name, matches]) => {
        const value = params.optional(name);
        return value === undefined || matches(item, value);
      }),
  );
  const place = (name: 'starting_after' | 'ending_before'): number | undefined => {
    const id = params.optional(name);
    if (id === undefined) return undefined;
    const index = kept.findIndex((item) => item.id === id);
    if (index < 0) throw missing(kind, id, name);
    return index;
  };
  const after = place('starting_after');
  const before = place('ending_before');
  if (after !== undefined && before !== undefined) {
    throw invalid('You cannot specify both starting_after and ending_before.', 'ending_before');
  }
  const from = before === undefined ? (after ?? -1) + 1 : Math.max(0, before - limit);
  const data = kept.slice(from, before ?? from + limit);
  const more = before === undefined ? kept.length > from + limit : from > 0;
  return { object: 'list', url, has_more: more, data };
}

const EXPANDABLE = new Set('charge customer data latest_charge payment_intent payment_method refunds'.split(' '));

/** The paths of `expand[]`, checked before anything is done: one that leads nowhere is refused. */
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
  const current = object[name];
  if (typeof current === 'string') object[name] = structuredClone(store.find(current) ?? current);
  expandOne(store, object[name], rest);
}

/** A copy of the answer with every path followed. */
export function expand(store: Store, answer: unknown, paths: string[][]): unknown {
  if (paths.length === 0) return answer;
  const copy = structuredClone(answer);
  for (const path of paths) expandOne(store, copy, path);
  return copy;
}
