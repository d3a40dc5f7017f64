import { type Check, cents, dollars, groupBy, type Report, sum } from '../finding.ts';
import type { AmountsRow } from '../sale-books.ts';

/** Reports an amount that differs from the sum that it must be. */
function expectSum(report: Report, order: string, name: string, amount: number, expected: number): void {
  if (amount !== expected) report(order, `${name} is ${dollars(amount)}, but its parts add up to ${dollars(expected)}`);
}

function checkAmounts(row: AmountsRow, report: Report): void {
  const { order, items, lines, discounts, taxLines, included } = row;
  const whole = (name: 'subtotal' | 'discount' | 'shipping' | 'shippingTax' | 'tax') => cents(row[name] ?? 0);
  if (!lines || !discounts || !taxLines || lines.length !== items.length) {
    report(order, `it has amounts, but ${lines?.length ?? 0} frozen lines for ${items.length} items`);
    return;
  }
  const expect = (name: string, amount: number, expected: number) => expectSum(report, order, name, amount, expected);
  const tax = included ? 0 : whole('tax');
  expect('its total', cents(row.total), whole('subtotal') - whole('discount') + whole('shipping') + tax);
  const ofLines = (name: 'subtotal' | 'discount' | 'tax') => sum(lines, (line) => cents(line[name]));
  expect('its subtotal', whole('subtotal'), ofLines('subtotal'));
  expect('its discount', whole('discount'), ofLines('discount'));
  expect('its tax', whole('tax'), ofLines('tax') + whole('shippingTax'));
  expect(
    'its tax',
    whole('tax'),
    sum(taxLines, ({ amount }) => cents(amount)),
  );
  const allocations = discounts.flatMap((discount) => discount.allocations);
  for (const discount of discounts) {
    expect(
      'a discount',
      cents(discount.amount),
      sum(discount.allocations, ({ amount }) => cents(amount)),
    );
  }
  for (const [index, line] of lines.entries()) {
    const { quantity = 0, price = 0 } = items[index] ?? {};
    const name = `of line ${line.id}`;
    const added = included ? 0 : cents(line.tax);
    const allocated = allocations.filter(({ lineId }) => lineId === line.id);
    expect(`the subtotal ${name}`, cents(line.subtotal), quantity * cents(price));
    expect(`the total ${name}`, cents(line.total), cents(line.subtotal) - cents(line.discount) + added);
    expect(
      `the discount ${name}`,
      cents(line.discount),
      sum(allocated, ({ amount }) => cents(amount)),
    );
  }
}

const agree: Check = {
  name: "an order's amounts, lines, tax lines and discounts agree",
  run(books, report) {
    for (const row of books.amounts) if (row.subtotal !== null) checkAmounts(row, report);
  },
};

/** A failed refund whose units could not be taken back leaves its units refunded. */
const lineRefunds: Check = {
  name: "refunds of lines add up to the order's refunded units, and none exceeds its line",
  run(books, report) {
    const byOrder = groupBy(books.lineRefunds, (row) => row.order);
    for (const { order, items, lines, refunded, refundedAmounts, restocked } of books.amounts) {
      const refunds = byOrder.get(order) ?? [];
      const kept = refunds.filter(({ status }) => status !== 'failed').flatMap((row) => row.items);
      const all = refunds.flatMap((row) => row.items);
      for (const [index, { quantity, price }] of items.entries()) {
        const isOfLine = ({ lineId }: { lineId: string }) => lineId === String(index + 1);
        const [atLeast, atMost] = [kept.filter(isOfLine), all.filter(isOfLine)];
        const subject = `line ${index + 1}`;
        const check = (what: string, amount: number, low: number, high: number, most: number) => {
          if (amount < low || amount > Math.min(high, most))
            report(order, `${subject} has ${amount} ${what}, its refunds have ${low} to ${high}, the line ${most}`);
        };
        const worth = lines ? cents(lines[index]?.total ?? 0) : quantity * cents(price);
        const [units, back] = [refunded?.[index] ?? 0, restocked?.[index] ?? 0];
        const unitsOf = (list: typeof all) => sum(list, (item) => item.quantity);
        const centsOf = (list: typeof all) => sum(list, (item) => cents(item.amount));
        const backOf = (list: typeof all) => sum(list, (item) => item.restocked);
        check('refunded units', units, unitsOf(atLeast), unitsOf(atMost), quantity);
        check('refunded cents', cents(refundedAmounts?.[index] ?? 0), centsOf(atLeast), centsOf(atMost), worth);
        check('restocked units', back, backOf(atLeast), backOf(atMost), units);
      }
    }
    for (const { id, order, amount, shipping, items } of books.lineRefunds) {
      const parts = sum(items, (item) => cents(item.amount)) + cents(shipping);
      if (parts !== cents(amount))
        report(order, `refund ${id} is ${amount}, but its lines and shipping are ${dollars(parts)}`);
    }
  },
};

const restocked: Check = {
  name: 'a unit that was refunded goes back into stock once',
  run(books, report) {
    const holds = new Map(books.reservations.map((row) => [row.order, row]));
    for (const { order, items, restocked: back } of books.amounts) {
      const hold = holds.get(order);
      if (hold?.status !== 'committed') continue;
      const units = (sku: string) => sum(items, (item) => (item.sku === sku ? (back?.[items.indexOf(item)] ?? 0) : 0));
      for (const [index, sku] of hold.skus.entries()) {
        const inStock = hold.restocked?.[index] ?? 0;
        if (inStock !== units(sku))
          report(order, `${units(sku)} refunded units of ${sku} went back, but its reservation has ${inStock}`);
      }
    }
  },
};

export const amountChecks: Check[] = [agree, lineRefunds, restocked];
