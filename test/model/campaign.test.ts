import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Reply, type Store, startStore } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { actions, type Command, campaigns, type Place, part, price, type State } from './campaign.ts';
import { chooseFrom, outcomesOf } from './search.ts';
import { modelRuns, modelTimeout, settle } from './settle.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const users = ['ada', 'bob', 'cyd', 'dan'];
const stock = 3;
const day = 86_400_000;
const methods = { hold: 'pm_card_visa', debit: 'pm_usBankAccount_processing' };
const outcomeOf = ({ status, body }: Reply) => (status < 400 ? String(status) : `${status} ${body.code}`);

/** A separate campaign in the store, on which the commands of the model run. */
async function campaignStore(terms: State['terms']) {
  const fixture = campaignFixture(store);
  const { emulator, state: books } = paymentFixture(store);
  const { id, sku, endTime } = await fixture.start(`C${randomBytes(4).toString('hex')}`, stock, {
    minParticipants: terms.min,
    maxParticipants: terms.max,
    successOn: terms.successOn,
    price: price / 100,
    endTime: new Date(Date.now() + (terms.method === 'hold' ? 1 : 20) * day).toISOString(),
  });
  const at = (time: number) => store.cron('* * * * *', new Date(time));

  async function secure(user: string, n: number): Promise<string> {
    const place = (await fixture.participants(id)).filter((one) => one.user_id === user)[n];
    if (!place) return 'no place';
    const opened = await store.send('POST', '/v1/payments', { orderId: place.order_id });
    if (opened.status !== 201) return outcomeOf(opened);
    const { clientSecret } = opened.body;
    if (clientSecret === null) return '201 refused';
    const intent = clientSecret.split('_secret_')[0];
    const given = { payment_method: methods[terms.method], return_url: 'https://shop.test' };
    try {
      if (!intent.startsWith('seti_')) await fixture.stripe.paymentIntents.confirm(intent, given);
      else await fixture.stripe.setupIntents.confirm(intent, given);
      return '201 held';
    } catch {
      return '201 refused';
    }
  }

  /** Calls an endpoint of the emulator. Returns false where Stripe would reject the action. */
  const atStripe = async (path: string, body: object) => {
    try {
      await emulator('POST', path, body);
      return true;
    } catch {
      return false;
    }
  };

  async function intentOf(user: string, n: number): Promise<string> {
    const [row] = await store.database.query<{ id: string | null }>(
      `select y.stripe_payment_intent_id as id from group_commerce.participants p join payments.payments y using (payment_id)
       where p.campaign_id = $1 and p.user_id = $2 order by p.id offset $3 limit 1`,
      [id, user, n],
    );
    return row?.id ?? 'none';
  }

  async function bank({ user, place, outcome }: Command & { do: 'bank' }): Promise<string> {
    const done = await atStripe(`payment_intents/${await intentOf(user, place)}/settle`, { outcome });
    return done ? outcome : 'nothing to decide';
  }

  async function act({ user, place, action }: Command & { do: 'atStripe' }): Promise<string> {
    const [verb, some] = action.split(' ');
    const amount = some === undefined ? {} : { amount: part };
    const intent = { payment_intent: await intentOf(user, place) };
    return (await atStripe(`dashboard/${verb}`, { ...intent, ...amount })) ? 'done' : 'refused';
  }

  return {
    remind: () => at(Date.now() + 400_000),
    async run(command: Command): Promise<string> {
      if (command.do === 'join') return outcomeOf(await fixture.join(id, command.user));
      if (command.do === 'leave') return outcomeOf(await fixture.leave(id, command.user));
      if (command.do === 'secure') return secure(command.user, command.place);
      if (command.do === 'bank') return bank(command);
      if (command.do === 'atStripe') return act(command);
      if (command.do === 'cancel') return outcomeOf(await store.send('POST', `/v1/campaigns/${id}/cancel`));
      await at(Date.parse(endTime) + 1000);
      return '';
    },
    async readState(): Promise<State> {
      const { status, actualParticipants: actual, securedParticipants: secured } = await fixture.read(id);
      const rows = await store.database.query<{ user: string; open: boolean; place: Omit<Place, 'atStripe'> }>(
        `select p.user_id as user, jsonb_build_object('state', p.state, 'reason', p.reason,
             'secured', p.secured_at is not null, 'order', o.status,
             'payment', case when y.status = 'pending' and y.stripe_status = 'processing' then 'processing' else y.status end,
             'captured', (y.captured * 100)::int, 'requested', (y.refunded * 100)::int, 'refunded', (y.refund_done * 100)::int,
             'refused', (select min(r.amount * 100)::int from payments.refunds r
               where r.payment_id = y.payment_id and r.automatic and r.status = 'failed')) as place,
           y.intent_open and y.status <> 'pending'
             or y.status = 'pending' and coalesce(y.stripe_payment_intent_id, y.setup_intent_id) is null as open
         from group_commerce.participants p join payments.payments y using (payment_id)
         left join orders.orders o on o.id = p.order_id
         where p.campaign_id = $1 order by p.id`,
        [id],
      );
      const units = await fixture.stockOf(sku);
      const places: State['places'] = {};
      for (const { user, place } of rows) {
        places[user] = [
          ...(places[user] ?? []),
          { ...place, atStripe: { pays: terms.method, status: 'open', taken: 0, returned: 0 } },
        ];
      }
      const history = (await fixture.eventsOf(id)).filter((topic) => topic !== 'created');
      return {
        ...{ terms, status, actual, secured, places, history },
        stock: { free: units?.quantity ?? 0, held: units?.reserved ?? 0 },
        todo: rows.filter(({ open }) => open).map(() => 'at Stripe'),
      };
    },
    /** What Stripe captured and refunded for each of this user’s places, past ones included. */
    async books(user: string) {
      const { intents } = await books();
      return (await fixture.participants(id))
        .filter((place) => place.user_id === user)
        .map(({ order_id: order }) => {
          const made = intents.filter(({ metadata }) => metadata.orderId === order);
          const sum = (of: 'captured' | 'refunded') => made.reduce((cents, intent) => cents + intent[of], 0);
          return { taken: sum('captured'), returned: sum('refunded') };
        });
    },
  };
}

type Real = {
  open: (terms: State['terms']) => ReturnType<typeof campaignStore>;
  store?: Awaited<ReturnType<typeof campaignStore>>;
};
/** A command before its place is chosen. `n`: which user. `loose`: also a command that would change nothing. */
type Wanted = { do: Command['do']; n: number; loose: boolean };

class Commands implements fc.AsyncCommand<{ state: State }, Real> {
  readonly wanted: Wanted[];
  constructor(wanted: Wanted[]) {
    this.wanted = wanted;
  }

  // The end is only tested while the campaign is active. After success, orders follow their own rules.
  check = ({ state }: { state: State }) => state.status === 'active' || !this.wanted.some((one) => one.do === 'end');

  of(state: State, { do: what, n, loose }: Wanted): Command | undefined {
    const all = users.flatMap((user): Command[] => {
      const known = state.places[user]?.length ?? 0;
      const place = Math.max(known - 1, 0);
      if (what === 'secure') return [{ do: what, user, place }];
      if (what !== 'bank' && what !== 'atStripe')
        return what === 'cancel' || what === 'end' ? [{ do: what }] : [{ do: what, user }];
      // Without a place there is nothing at Stripe.
      if (known === 0) return [{ do: 'join', user }];
      if (what === 'atStripe') return actions.map((action) => ({ do: what, user, place, action }));
      return (['succeed', 'fail'] as const).map((outcome) => ({ do: what, user, place, outcome }));
    });
    return chooseFrom(campaigns, state, all, n, loose);
  }

  async run(model: { state: State }, real: Real): Promise<void> {
    real.store ??= await real.open(model.state.terms);
    const at = real.store;
    const commands = this.wanted.flatMap((wanted) => this.of(model.state, wanted) ?? []);
    const replies = await Promise.all(commands.map((command) => at.run(command)));
    const possible = outcomesOf(campaigns, model.state, commands)
      .filter((outcome) => outcome.replies.join(', ') === replies.join(', '))
      .map(({ state }) => state);
    model.state = await settle(possible, at.readState, at.remind, `${JSON.stringify(commands)}: ${replies.join(', ')}`);
  }

  toString = () => this.wanted.map((each) => JSON.stringify(each)).join(' with ');
}

const wanted = (...from: Command['do'][]): fc.Arbitrary<Wanted> =>
  fc.record({
    do: fc.constantFrom(...from),
    n: fc.nat(99),
    loose: fc.constantFrom(true, false, false, false),
  });
const most: Command['do'][] = [
  ...(['join', 'join', 'join', 'secure', 'secure', 'secure', 'secure'] as const),
  ...(['bank', 'bank', 'bank', 'atStripe', 'atStripe', 'atStripe', 'leave'] as const),
];
const one = wanted(...most).map((each) => new Commands([each]));
const end = fc
  .constantFrom<Command['do']>('cancel', 'end')
  .map((what) => new Commands([{ do: what, n: 0, loose: true }]));
const race = fc.array(wanted(...most, 'cancel'), { minLength: 2, maxLength: 3 }).map((all) => new Commands(all));
const terms = fc
  .record({
    min: fc.integer({ min: 1, max: 3 }),
    more: fc.nat(2),
    successOn: fc.constantFrom('joined' as const, 'secured' as const),
    method: fc.constantFrom('hold' as const, 'debit' as const),
  })
  .map(({ min, more, ...how }) => ({ min, max: min + more, ...how }));

const check = (commands: fc.Arbitrary<Commands>, length: number, runs: number) =>
  fc.assert(
    fc.asyncProperty(terms, fc.array(commands, { minLength: length, maxLength: length }), async (chosen, sequence) => {
      const state: State = {
        ...{ terms: chosen, status: 'active', actual: 0, secured: 0, stock: { free: stock, held: 0 }, places: {} },
        ...{ history: [], todo: [] },
      };
      const model = { state };
      const real: Real = { open: campaignStore };
      await fc.asyncModelRun(() => ({ model, real }), sequence);
      for (const [user, places] of Object.entries(model.state.places)) {
        const expected = places.map(({ captured, refunded }) => ({ taken: captured, returned: refunded }));
        expect(await real.store?.books(user), `what Stripe has of ${user}`).toEqual(expected);
      }
    }),
    modelRuns(runs),
  );

describe('a campaign in the store', () => {
  test(
    'behaves as the model predicts, command by command',
    () => check(fc.oneof({ arbitrary: one, weight: 20 }, { arbitrary: end, weight: 1 }), 16, 8),
    modelTimeout,
  );

  test(
    'ends in a state that the model predicts for some order of concurrent steps',
    () => check(fc.oneof(one, race), 8, 8),
    modelTimeout,
  );
});
