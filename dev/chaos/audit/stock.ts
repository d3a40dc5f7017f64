import type { Books } from '../books.ts';
import { type Check, groupBy, sum } from '../finding.ts';
import { answerOf, member, textOf } from '../journal.ts';

const place = (tenant: string, sku: string) => `${tenant} ${sku}`;

/** Units of each SKU in reservations of a status. */
function unitsIn(books: Books, status: string): Map<string, number> {
  const units = new Map<string, number>();
  for (const one of books.reservations.filter((row) => row.status === status)) {
    one.skus.forEach((sku, at) => {
      const key = place(one.tenant, sku);
      units.set(key, (units.get(key) ?? 0) + (one.quantities[at] ?? 0));
    });
  }
  return units;
}

const balance: Check = {
  name: 'stock put in = free + held + committed',
  run(books, find) {
    const held = unitsIn(books, 'held');
    const committed = unitsIn(books, 'committed');
    const putIn = groupBy(books.adjustments, (row) => place(row.tenant, row.sku));
    for (const { tenant, sku, quantity, reserved } of books.stock) {
      const key = place(tenant, sku);
      const put = sum(putIn.get(key) ?? [], (row) => row.delta);
      const [holds, sold] = [held.get(key) ?? 0, committed.get(key) ?? 0];
      if (put !== quantity + reserved + sold) {
        find(key, `${put} units were put in; ${quantity} are free, ${reserved} held, ${sold} committed`);
      }
      if (reserved !== holds) find(key, `${reserved} units count as held, orders hold ${holds}`);
      if (quantity < 0) find(key, `${quantity} units are free`);
    }
    const kept = new Set(books.stock.map((row) => place(row.tenant, row.sku)));
    for (const key of new Set([...putIn.keys(), ...held.keys(), ...committed.keys()])) {
      if (!kept.has(key)) find(key, 'units without a row of stock');
    }
  },
};

const ledger: Check = {
  name: 'the stock ledger is what clients were told',
  run(books, find) {
    const byReason = groupBy(books.adjustments, (row) => row.reason);
    const told = new Set<string>();
    for (const asked of books.asked.filter(({ operation }) => operation === 'inventory.adjust')) {
      const key = asked.key ?? '';
      const found = byReason.get(key) ?? [];
      const answer = answerOf(asked);
      told.add(key);
      const expected = answer?.status === 201 ? 1 : 0;
      const delta = member(asked.body, 'delta');
      if (answer && found.length !== expected) {
        find(key, `an adjustment that was answered ${answer.status} stands ${found.length} times in the ledger`);
      }
      if (found.some((row) => row.delta !== delta)) find(key, `the ledger has another count than ${String(delta)}`);
    }
    for (const [reason, rows] of byReason) {
      const ours = reason === 'opening' || reason === 'count';
      if (!ours && !told.has(reason)) find(reason, `${rows.length} units' adjustments that nobody asked for`);
    }
  },
};

const opening: Check = {
  name: 'what was put in is what was answered',
  run(books, find) {
    const putIn = groupBy(books.adjustments, (row) => place(row.tenant, row.sku));
    const set = new Set(
      books.asked.flatMap(({ operation, tenant, path, body }) => {
        if (operation === 'inventory.set') return [place(tenant, path.split('/').at(-1) ?? '')];
        if (operation !== 'products.import') return [];
        return [...String(body).matchAll(/"sku":"([^"]+)"/g)].map(([, sku = '']) => place(tenant, sku));
      }),
    );
    const wanted = new Map<string, number>();
    const add = (key: string, units: number) => wanted.set(key, (wanted.get(key) ?? 0) + units);
    for (const asked of books.asked.filter((one) => answerOf(one)?.status === 201)) {
      if (asked.operation === 'products.create') {
        add(place(asked.tenant, textOf(asked.body, 'sku')), Number(member(asked.body, 'inventory')));
      }
      if (asked.operation === 'inventory.adjust') {
        add(place(asked.tenant, asked.path.split('/')[3] ?? ''), Number(member(asked.body, 'delta')));
      }
    }
    const unsure = new Set(
      books.asked.filter((one) => one.abandoned).map((one) => place(one.tenant, one.path.split('/')[3] ?? '')),
    );
    for (const [key, units] of wanted) {
      if (set.has(key) || unsure.has(key)) continue; // absolute counts: no sum of answers tells the end
      const put = sum(putIn.get(key) ?? [], (row) => row.delta);
      if (put !== units) find(key, `clients were told that ${units} units were put in; the ledger has ${put}`);
    }
  },
};

const holds: Check = {
  name: 'no hold past its end',
  run(books, find) {
    const places = new Set(books.participants.map((row) => row.order));
    for (const { order, status, expires } of books.reservations) {
      if (status === 'pending') find(order, 'a hold that was never decided');
      if (status !== 'held') continue;
      if (expires !== null && expires.getTime() <= books.clock) {
        find(order, `held until ${expires.toISOString()}, and still held at ${new Date(books.clock).toISOString()}`);
      } else if (expires === null && !places.has(order)) find(order, 'held without an end');
    }
  },
};

export const stockChecks: Check[] = [balance, ledger, opening, holds];
