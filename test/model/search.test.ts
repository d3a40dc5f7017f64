import { describe, expect, test } from 'vitest';
import { type Command, orders, type State } from './order.ts';
import { outcomesOf } from './search.ts';
import { settle } from './settle.ts';

const place = (order: string): Command => ({
  do: 'place',
  order,
  units: { A: 1 },
  total: 1000,
  addressed: false,
  coded: false,
});
const start = (free: number): State => ({ stock: { A: { free, held: 0 } }, orders: {}, uses: 0, todo: [] });
const replies = (state: State, commands: Command[]) =>
  outcomesOf(orders, state, commands).map((outcome) => outcome.replies.join(', '));

/** The state after commands that have one possible outcome each. */
function after(...commands: Command[]): State {
  return commands.reduce((state, command) => outcomesOf(orders, state, [command])[0]?.state ?? state, start(1));
}

describe('the model', () => {
  test('gives the last unit to one of two buyers, whoever comes first', () => {
    const short = '409 insufficient_inventory';
    expect(replies(start(1), [place('o0'), place('o1')]).sort()).toEqual([`201, ${short}`, `${short}, 201`]);
  });

  test('predicts every outcome of a payment concurrent with the cancellation of its order, and no other', () => {
    const ends = outcomesOf(orders, after(place('o0')), [
      { do: 'pay', order: 'o0' },
      { do: 'cancel', order: 'o0' },
    ]);
    const received = ends.map(({ state, replies: [paid] }) => {
      const { status, payments, hold } = state.orders.o0 ?? {};
      const payment = payments?.at(-1);
      return `${paid}: ${status}, ${hold}, ${payment?.status} ${payment?.captured} - ${payment?.refunded}`;
    });
    expect([...new Set(received)].sort()).toEqual([
      '201 paid: cancelled, released, refunded 1000 - 1000',
      '201 refused: cancelled, released, cancelled 0 - 0',
      '409 order_not_payable: cancelled, released, cancelled 0 - 0',
    ]);
    // In every outcome the unit is free again and no work is left.
    for (const { state } of ends) expect(state).toMatchObject({ stock: { A: { free: 1, held: 0 } }, todo: [] });
  });

  test('takes the stock again for a payment after the hold expired, or refunds the payment', () => {
    const late = outcomesOf(orders, after(place('o0')), [{ do: 'pay', order: 'o0' }, { do: 'expire' }, place('o1')]);
    for (const { state } of late) {
      const sold = Object.values(state.orders).filter((order) => order.hold === 'committed' || order.hold === 'held');
      expect(sold).toHaveLength(1 - (state.stock.A?.free ?? 0));
      const kept = Object.values(state.orders).map(({ payments }) =>
        payments.reduce((sum, { captured, refunded }) => sum + captured - refunded, 0),
      );
      const paid = Object.values(state.orders).map((order) => (order.status === 'confirmed' ? order.total : 0));
      expect(kept).toEqual(paid);
    }
  });
});

test('settle fails if the store reaches none of the predicted states, and shows the actual state', async () => {
  const predicted = after(place('o0'));
  const twice = structuredClone(predicted);
  twice.orders.o0?.history.push('payment.created');
  const readState = async () => twice;
  await expect(settle([predicted], readState, async () => undefined, 'placed', 3)).rejects.toThrow(/placed: 1 states/);
  await expect(settle([], readState, async () => undefined, 'placed', 3)).rejects.toThrow(/no order of the steps/);
  expect(
    await settle(
      [start(1), predicted],
      async () => predicted,
      async () => undefined,
      'placed',
      3,
    ),
  ).toEqual(predicted);
});
