import { type Check, cents, groupBy } from '../finding.ts';

const counters: Check = {
  name: 'a limited discount counts the orders that use it, and never more than its limits',
  run(books, report) {
    const taken = books.uses.filter((use) => use.taken);
    const byDiscount = groupBy(taken, (use) => use.discount);
    const byCustomer = groupBy(taken, (use) => `${use.discount} ${use.customer}`);
    const limits = new Map(books.discounts.map((row) => [row.id, row]));
    for (const { id, limit, used } of books.discounts) {
      const uses = byDiscount.get(id)?.length ?? 0;
      if (limit === null) continue;
      if ((used ?? 0) !== uses) report(id, `its counter is ${used ?? 'missing'}, but ${uses} uses are taken`);
      if (uses > limit) report(id, `${uses} uses are taken, but its limit is ${limit}`);
    }
    const counted = new Map(books.customerUses.map((row) => [`${row.discount} ${row.customer}`, row.used]));
    for (const key of new Set([...counted.keys(), ...byCustomer.keys()])) {
      const [id = ''] = key.split(' ');
      const limit = limits.get(id)?.customerLimit ?? null;
      const uses = byCustomer.get(key)?.length ?? 0;
      if (limit === null) continue;
      if ((counted.get(key) ?? 0) !== uses)
        report(id, `the counter of a customer is ${counted.get(key) ?? 'missing'}, but ${uses} uses are taken`);
      if (uses > limit) report(id, `a customer has taken ${uses} uses, but the limit for each is ${limit}`);
    }
  },
};

const ended = new Set(['failed', 'cancelled']);

const uses: Check = {
  name: 'an order has taken its uses of limited discounts, until it fails or is cancelled',
  run(books, report) {
    const statuses = new Map(books.orders.map((order) => [order.id, order.status]));
    const byOrder = groupBy(books.uses, (use) => use.order);
    const limited = new Set(
      books.discounts.filter((row) => row.limit !== null || row.customerLimit !== null).map(({ id }) => id),
    );
    for (const { order, discount, taken } of books.uses) {
      const status = statuses.get(order) ?? 'missing';
      if (taken && (ended.has(status) || status === 'missing'))
        report([order, discount], `its order is ${status}, but its use is taken`);
      if (!taken && !ended.has(status)) report([order, discount], `its order is ${status}, but its use is not taken`);
    }
    for (const { order, discounts } of books.amounts) {
      const saved = (discounts ?? []).filter(({ id, amount }) => limited.has(id) && cents(amount) > 0);
      const recorded = new Set((byOrder.get(order) ?? []).map((use) => use.discount));
      for (const { id } of saved) if (!recorded.has(id)) report([order, id], 'its use of the discount is not recorded');
      if (recorded.size > saved.length) report(order, 'it has uses of discounts that save nothing');
    }
  },
};

export const discountChecks: Check[] = [counters, uses];
