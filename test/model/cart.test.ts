import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCart } from '../support/carts.ts';
import { addProduct, type Reply, type Store, startStore } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { type CartCommand, type CartState, carts } from './cart.ts';
import { chooseFrom, outcomesOf } from './search.ts';
import { modelRuns, modelTimeout, settle } from './settle.ts';

let store: Store;
let publishable: string;
beforeAll(async () => {
  store = await startStore();
  publishable = await store.database.key({ kind: 'publishable' });
});
afterAll(() => store.close());

const opening = 5;

/** Runs the commands of the model on a cart in the store, as the tabs of one shopper do. */
async function cartStore() {
  const sku = `C${randomBytes(4).toString('hex')}`;
  await addProduct(store, sku, opening, 10);
  const cart = await openCart(store, { email: 'ada@example.com' }, publishable);
  const paying = paymentFixture(store);
  const outcomeOf = ({ status, body }: Reply) => (status < 400 ? String(status) : `${status} ${body.code}`);

  const ordersOf = () =>
    store.database.query<CartState['orders'][number] & { id: string; intent: string | null }>(
      `select o.id, o.status, (o.items->0->>'quantity')::int as units, r.status as hold, p.status as payment,
         p.stripe_payment_intent_id as intent
       from orders.orders o join inventory.reservations r on r.order_id = o.id join payments.payments p on p.order_id = o.id
       where o.cart_id = $1 order by o.id`,
      [cart.id],
    );

  async function pay(index: number): Promise<string> {
    const intent = (await ordersOf())[index]?.intent;
    if (!intent) return 'refused';
    return (await paying.pay(intent, 'pm_card_visa')) ? 'paid' : 'refused';
  }

  return {
    async run(command: CartCommand): Promise<string> {
      if (command.do === 'set') return outcomeOf(await cart.send('PUT', `/items/${sku}`, { quantity: command.units }));
      if (command.do === 'checkout') {
        const outcome = outcomeOf(await cart.checkout());
        return outcome === '409 order_not_payable' ? '201' : outcome; // it was cancelled before it had an intent
      }
      if (command.do === 'pay') return pay(command.order);
      if (command.do === 'cancelOrder') {
        const id = (await ordersOf())[command.order]?.id;
        return outcomeOf(await store.send('POST', `/v1/orders/${id}/cancel`, {}));
      }
      if (command.do === 'reopen') return outcomeOf(await cart.send('POST', '/reopen'));
      if (command.do === 'cancelCart') return outcomeOf(await cart.send('POST', '/cancel'));
      const seconds = command.do === 'expireHolds' ? 901 : 0;
      if (command.do === 'expireCart')
        await store.database.query(`update orders.carts set expires_at = now() - interval '1 second' where id = $1`, [
          cart.id,
        ]);
      await store.cron('* * * * *', new Date(Date.now() + seconds * 1_000));
      return '';
    },

    cron: () => store.cron('* * * * *', new Date(Date.now() + 400_000)),

    /** The state in the model's format. `todo` has the work that the rows show as pending. */
    async readState(): Promise<CartState> {
      const [row] = await store.database.query<Omit<CartState, 'orders'> & { open: number }>(
        `select c.status, coalesce((c.items->0->>'quantity')::int, 0) as units, i.quantity as free, i.reserved as held,
           (select count(*)::int from payments.payments p join orders.orders o on o.id = p.order_id
             where o.cart_id = c.id and (p.intent_open and p.status <> 'pending'
               or p.status = 'pending' and p.stripe_payment_intent_id is null)) as open
         from orders.carts c, inventory.inventory i where c.id = $1 and i.sku = $2`,
        [cart.id, sku],
      );
      if (!row) throw new Error('there is no cart');
      const { open, ...state } = row;
      const orders = (await ordersOf()).map(({ id: _, intent: _intent, ...order }) => order);
      return { ...state, orders, todo: Array.from({ length: open }, () => 'at Stripe') };
    },
  };
}

type CartStore = Awaited<ReturnType<typeof cartStore>>;
/** A command before its order is chosen. */
type Wanted = { do: CartCommand['do']; units: number; which: number };

class Commands implements fc.AsyncCommand<{ state: CartState }, CartStore> {
  readonly wanted: Wanted[];
  constructor(wanted: Wanted[]) {
    this.wanted = wanted;
  }

  check = () => true;

  of(state: CartState): CartCommand[] {
    return this.wanted.flatMap(({ do: what, units, which }, tab): CartCommand[] => {
      if (what === 'set') return [{ do: what, units }];
      if (what === 'checkout') return [{ do: what, tab }];
      if (what !== 'pay' && what !== 'cancelOrder') return [{ do: what }];
      const about = state.orders.map((_, order): CartCommand => ({ do: what, order }));
      const chosen = chooseFrom(carts, state, about, which, false);
      return chosen === undefined ? [] : [chosen];
    });
  }

  async run(model: { state: CartState }, real: CartStore): Promise<void> {
    const commands = this.of(model.state);
    const replies = await Promise.all(commands.map((command) => real.run(command)));
    const received = replies.join(', ');
    const possible = outcomesOf(carts, model.state, commands).filter(
      (outcome) => outcome.replies.join(', ') === received,
    );
    model.state = await settle(
      possible.map(({ state }) => state),
      () => real.readState(),
      () => real.cron(),
      `${this}: ${received}`,
    );
    expect(
      model.state.orders.filter(({ status }) => status !== 'failed' && status !== 'cancelled').length,
    ).toBeLessThan(2);
  }

  toString = () => this.wanted.map((each) => JSON.stringify(each)).join(' with ');
}

const wanted = (...from: CartCommand['do'][]): fc.Arbitrary<Wanted> =>
  fc.record({ do: fc.constantFrom(...from), units: fc.nat(opening + 1), which: fc.nat(3) });
const one = wanted('set', 'checkout', 'checkout', 'pay', 'reopen', 'cancelOrder').map((each) => new Commands([each]));
const ending = wanted('cancelCart', 'expireHolds', 'expireCart').map((each) => new Commands([each]));
const race = fc
  .array(wanted('set', 'checkout', 'checkout', 'pay', 'pay', 'reopen', 'cancelOrder'), { minLength: 2, maxLength: 3 })
  .map((all) => new Commands(all));

const check = (commands: { weight: number; arbitrary: fc.Arbitrary<Commands> }[], length: number, runs: number) =>
  fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(...commands), { minLength: length, maxLength: length }), (chosen) =>
      fc.asyncModelRun(async () => {
        const state: CartState = { status: 'open', units: 0, orders: [], free: opening, held: 0, todo: [] };
        return { model: { state }, real: await cartStore() };
      }, chosen),
    ),
    modelRuns(runs),
  );

describe('a cart in the store', () => {
  test(
    'behaves as the model predicts, command by command',
    () =>
      check(
        [
          { weight: 8, arbitrary: one },
          { weight: 1, arbitrary: ending },
        ],
        16,
        8,
      ),
    modelTimeout,
  );

  test(
    'never has two orders that have not ended, whatever its tabs do at once',
    () =>
      check(
        [
          { weight: 2, arbitrary: one },
          { weight: 3, arbitrary: race },
        ],
        12,
        8,
      ),
    modelTimeout,
  );
});
