import type { Books, ReservationRow } from '../books.ts';
import { type Check, groupBy, sum } from '../finding.ts';
import { finalResponse, member, textOf } from '../journal.ts';

const stockKey = (tenant: string, sku: string) => `${tenant} ${sku}`;

/** Adds up the units of each SKU that these reservations have, by `unitsOf` a reservation and an index. */
function addUnits(rows: readonly ReservationRow[], unitsOf: (row: ReservationRow, index: number) => number) {
  const units = new Map<string, number>();
  for (const row of rows) {
    row.skus.forEach((sku, index) => {
      const key = stockKey(row.tenant, sku);
      units.set(key, (units.get(key) ?? 0) + unitsOf(row, index));
    });
  }
  return units;
}

const withStatus = ({ reservations }: Books, status: string) => reservations.filter((row) => row.status === status);

/** Sold units that are not back in stock. Units that were refunded without going back stay out when the order ends. */
const unitsOut = ({ status, quantities, restocked }: ReservationRow, index: number): number => {
  const sold = quantities[index] ?? 0;
  return sold - (restocked?.[index] ?? (status === 'committed' ? 0 : sold));
};

const balance: Check = {
  name: 'stock added = free + held + committed',
  run(books, report) {
    const held = addUnits(withStatus(books, 'held'), (row, index) => row.quantities[index] ?? 0);
    const sold = [...withStatus(books, 'committed'), ...withStatus(books, 'released')];
    const committed = addUnits(sold, unitsOut);
    const added = groupBy(books.adjustments, (row) => stockKey(row.tenant, row.sku));
    for (const { tenant, sku, quantity, reserved } of books.stock) {
      const key = stockKey(tenant, sku);
      const units = sum(added.get(key) ?? [], (row) => row.delta);
      const [holds, out] = [held.get(key) ?? 0, committed.get(key) ?? 0];
      if (units !== quantity + reserved + out) {
        report(key, `${units} units were added; ${quantity} are free, ${reserved} held, ${out} committed`);
      }
      if (reserved !== holds) report(key, `the counter of held units is ${reserved}, but orders hold ${holds}`);
      if (quantity < 0) report(key, `${quantity} units are free`);
    }
    const known = new Set(books.stock.map((row) => stockKey(row.tenant, row.sku)));
    for (const key of new Set([...added.keys(), ...held.keys(), ...committed.keys()])) {
      if (!known.has(key)) report(key, 'it has units but no row in inventory.inventory');
    }
  },
};

const ledger: Check = {
  name: 'the stock ledger has each adjustment of a client once',
  run(books, report) {
    const byReason = groupBy(books.adjustments, (row) => row.reason);
    const requested = new Set<string>();
    for (const request of books.requests.filter(({ operation }) => operation === 'inventory.adjust')) {
      const key = request.key ?? '';
      const rows = byReason.get(key) ?? [];
      const response = finalResponse(request);
      requested.add(key);
      const expected = response?.status === 201 ? 1 : 0;
      const delta = member(request.body, 'delta');
      if (response && rows.length !== expected) {
        report(key, `an adjustment with the response ${response.status} is in the ledger ${rows.length} times`);
      }
      if (rows.some((row) => row.delta !== delta))
        report(key, `the ledger has another number of units than ${String(delta)}`);
    }
    for (const [reason, rows] of byReason) {
      const isInternal = reason === 'opening' || reason === 'count';
      if (!isInternal && !requested.has(reason))
        report(reason, `the ledger has ${rows.length} adjustments that no client requested`);
    }
  },
};

const opening: Check = {
  name: 'the stock added to each SKU is the sum of the units in successful responses',
  run(books, report) {
    const added = groupBy(books.adjustments, (row) => stockKey(row.tenant, row.sku));
    const recounted = new Set(
      books.requests.flatMap(({ operation, tenant, path, body }) => {
        if (operation === 'inventory.set') return [stockKey(tenant, path.split('/').at(-1) ?? '')];
        if (operation !== 'products.import') return [];
        return [...String(body).matchAll(/"sku":"([^"]+)"/g)].map(([, sku = '']) => stockKey(tenant, sku));
      }),
    );
    const expected = new Map<string, number>();
    const add = (key: string, units: number) => expected.set(key, (expected.get(key) ?? 0) + units);
    for (const request of books.requests.filter((candidate) => finalResponse(candidate)?.status === 201)) {
      if (request.operation === 'products.create') {
        add(stockKey(request.tenant, textOf(request.body, 'sku')), Number(member(request.body, 'inventory')));
      }
      if (request.operation === 'inventory.adjust') {
        add(stockKey(request.tenant, request.path.split('/')[3] ?? ''), Number(member(request.body, 'delta')));
      }
    }
    const abandoned = new Set(
      books.requests
        .filter(({ abandoned }) => abandoned)
        .map(({ tenant, path }) => stockKey(tenant, path.split('/')[3] ?? '')),
    );
    for (const [key, expectedUnits] of expected) {
      if (recounted.has(key) || abandoned.has(key)) continue; // their sum is unknown
      const units = sum(added.get(key) ?? [], (row) => row.delta);
      if (units !== expectedUnits) {
        report(key, `${expectedUnits} units were added by successful responses, but the ledger has ${units}`);
      }
    }
  },
};

const holds: Check = {
  name: 'no hold outlives its expiry',
  run(books, report) {
    const places = new Set(books.participants.map((row) => row.order));
    for (const { order, status, expires } of books.reservations) {
      if (status === 'pending') report(order, 'its hold was never decided');
      if (status !== 'held') continue;
      if (expires !== null && expires.getTime() <= books.clock) {
        report(
          order,
          `its hold expired at ${expires.toISOString()}, but it is still held at ${new Date(books.clock).toISOString()}`,
        );
      } else if (expires === null && !places.has(order)) report(order, 'it is held without an expiry');
    }
  },
};

export const stockChecks: Check[] = [balance, ledger, opening, holds];
