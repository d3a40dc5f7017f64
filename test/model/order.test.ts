import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Store, startStore } from '../support/harness.ts';
import { secret } from '../support/shipping.ts';
import { type Command, orders, type State } from './order.ts';
import { codeCents, type OrderStore, orderStore, prices } from './order-store.ts';
import { chooseFrom, outcomesOf } from './search.ts';
import { modelRuns, modelTimeout, settle } from './settle.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore({ variables: { SHIPPING_WEBHOOK_SECRET: secret } });
});
afterAll(() => store.close());

/** A command before its order is chosen. `which`: the number of the order. */
type Wanted = { do: Command['do']; which: number; units: Record<string, number>; cents: number | null; n: number };

const mostOrders = 4;
const opening = { A: 3, B: 5, C: 4 };

class Commands implements fc.AsyncCommand<{ state: State }, OrderStore> {
  readonly wanted: Wanted[];
  constructor(wanted: Wanted[]) {
    this.wanted = wanted;
  }

  check({ state }: { state: State }): boolean {
    const known = Object.keys(state.orders).length;
    const placed = this.wanted.filter((each) => each.do === 'place').length;
    const about = this.wanted.some((each) => !['place', 'adjust', 'count', 'expire'].includes(each.do));
    return known + placed <= mostOrders && (known > 0 || !about);
  }

  /** The commands for the orders of this state. Each placed order gets a new name. */
  of(state: State): Command[] {
    const names = Object.keys(state.orders);
    let placed = 1 + Math.max(-1, ...names.map((name) => Number(name.slice(1))));
    return this.wanted.flatMap(({ do: what, which, units, cents, n }): Command[] => {
      const [sku = 'A'] = Object.keys(units);
      if (what === 'place') {
        const coded = n > 2;
        const total = Object.entries(units).reduce(
          (sum, [of, count]) => sum + Math.round((prices[of] ?? 0) * 100) * count,
          coded ? -codeCents : 0,
        );
        return [{ do: what, order: `o${placed++}`, units, total, addressed: n % 2 === 0, coded }];
      }
      if (what === 'adjust') return [{ do: what, sku, delta: n - 4 }];
      if (what === 'count') return [{ do: what, sku, quantity: n }];
      if (what === 'expire') return [{ do: what }];
      const about = names.map((order): Command => {
        if (what === 'refund' || what === 'refundAtStripe') return { do: what, order, cents };
        if (what === 'bank') return { do: what, order, outcome: n % 3 === 0 ? 'fail' : 'succeed' };
        if (what === 'track') return { do: what, order, status: n % 2 === 0 ? 'in_transit' : 'delivered' };
        return { do: what, order };
      });
      const chosen = chooseFrom(orders, state, about, which, n === 8);
      return chosen === undefined ? [] : [chosen];
    });
  }

  async run(model: { state: State }, real: OrderStore): Promise<void> {
    const commands = this.of(model.state);
    const replies = await Promise.all(commands.map((command) => real.run(command)));
    const raced = commands.length > 1 && commands.some((command) => command.do === 'expire');
    const names = new Set([
      ...Object.keys(model.state.orders),
      ...commands.flatMap((one) => ('order' in one ? one.order : [])),
    ]);
    // The cron skips an order that is locked by another command, so run it once more.
    if (raced) await real.run({ do: 'expire' });
    const all = raced
      ? [...commands, ...[...names].map((order): Command => ({ do: 'lapse', order }))].filter(
          (one) => one.do !== 'expire',
        )
      : commands;
    const late = raced ? [{ do: 'expire' } as const] : [];
    const received = replies.filter((_, n) => !raced || commands[n]?.do !== 'expire').join(', ');
    const possible = outcomesOf(orders, model.state, all)
      .filter((outcome) => outcome.replies.slice(0, raced ? commands.length - 1 : undefined).join(', ') === received)
      .flatMap(({ state }) => (raced ? outcomesOf(orders, state, late) : [{ state }]));
    model.state = await settle(
      possible.map(({ state }) => state),
      () => real.readState(),
      () => real.cron(400),
      `${this}: ${received}`,
    );
    for (const command of commands) {
      if (command.do !== 'place') continue;
      const repeated = await real.repeat(command.order);
      if (repeated === null) continue;
      const { reply, first } = repeated;
      expect([reply.status, reply.headers.get('idempotent-replayed')]).toEqual([first.status, 'true']);
      if (first.status < 400) expect(reply.body).toEqual(first.body);
    }
  }

  toString = () => this.wanted.map((each) => JSON.stringify(each)).join(' with ');
}

const verbs: Command['do'][] = [
  'place',
  'pay',
  'pay',
  'debit',
  'bank',
  'decline',
  'cancelAtStripe',
  'cancel',
  'refund',
  'track',
  'adjust',
  'count',
  'expire',
];
const wanted = (...from: Command['do'][]): fc.Arbitrary<Wanted> =>
  fc.record({
    do: fc.constantFrom(...from),
    which: fc.nat(3),
    units: fc.dictionary(fc.constantFrom('A', 'B', 'C'), fc.integer({ min: 1, max: 3 }), {
      minKeys: 1,
      maxKeys: 3,
      noNullPrototype: true,
    }),
    cents: fc.option(fc.constantFrom(1, 333, 1000, 2000, 999_999), { freq: 2 }),
    n: fc.nat(8),
  });

const one = wanted('place', 'pay', 'pay', 'debit', 'bank', 'track').map((each) => new Commands([each]));
const money = wanted('pay', 'refund', 'refundAtStripe', 'bounce', 'bounce', 'cancelAtStripe').map(
  (each) => new Commands([each]),
);
const any = wanted(...verbs).map((each) => new Commands([each]));
/** At most one `expire` and one `bounce`. Which refund bounces is only known if no other refund is made meanwhile. */
const fitting = (all: Wanted[]) => {
  const count = (verb: Command['do']) => all.filter((each) => each.do === verb).length;
  const bounces = count('bounce');
  const refunds = all.some(({ do: what }) => ['pay', 'bank', 'cancel', 'refund'].includes(what));
  return count('expire') <= 1 && bounces <= 1 && !(bounces === 1 && refunds);
};
const race = fc
  .array(wanted(...verbs.filter((verb) => verb !== 'decline'), 'bounce'), { minLength: 2, maxLength: 3 })
  .filter(fitting)
  .map((all) => new Commands(all));

const check = (commands: fc.Arbitrary<fc.AsyncCommand<{ state: State }, OrderStore>>[], length: number, runs: number) =>
  fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(...commands), { minLength: length, maxLength: length }), (chosen) =>
      fc.asyncModelRun(async () => {
        const real = await orderStore(store, `R${randomBytes(4).toString('hex')}`, opening);
        const stock = Object.fromEntries(Object.entries(opening).map(([sku, free]) => [sku, { free, held: 0 }]));
        return { model: { state: { stock, orders: {}, uses: 0, todo: [] } }, real };
      }, chosen),
    ),
    modelRuns(runs),
  );

describe('an order in the store', () => {
  test(
    'behaves as the model predicts, command by command',
    async () => {
      await check([one, money, any], 24, 6);
    },
    modelTimeout,
  );

  test(
    'ends in a state that the model predicts for some order of concurrent steps',
    async () => {
      await check([one, race, race], 10, 6);
    },
    modelTimeout,
  );
});
