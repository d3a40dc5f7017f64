import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { campaignRig } from './campaign-rig.ts';
import { type Reply, type Store, startStore } from './harness.ts';
import { type Command, campaigns, type State } from './model-campaign.ts';
import { outcomesOf } from './model-search.ts';
import { modelRuns, modelTimeout, settle } from './model-settle.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const users = ['ada', 'bob', 'cyd', 'dan'];
const stock = 3;
const told = ({ status, body }: Reply) => (status < 400 ? String(status) : `${status} ${body.code}`);

/** A campaign of its own, to which the model's commands are done. */
async function campaignStore(terms: State['terms']) {
  const rig = campaignRig(store);
  const { id, sku, endTime } = await rig.start(`C${randomBytes(4).toString('hex')}`, stock, {
    minParticipants: terms.min,
    maxParticipants: terms.max,
    successOn: terms.successOn,
  });
  const at = (time: number) => store.cron('* * * * *', new Date(time));

  async function secure(user: string, n: number): Promise<string> {
    const place = (await rig.participants(id)).filter((one) => one.user_id === user)[n];
    if (!place) return 'no place';
    const opened = await store.send('POST', '/v1/payments', { orderId: place.order_id });
    if (opened.status !== 201) return told(opened);
    const { clientSecret, stripePaymentIntentId: intent } = opened.body;
    if (clientSecret === null) return '201 refused';
    try {
      await rig.stripe.paymentIntents.confirm(intent, {
        payment_method: 'pm_card_visa',
        return_url: 'https://shop.test',
      });
      return '201 held';
    } catch {
      return '201 refused';
    }
  }

  return {
    remind: () => at(Date.now() + 400_000),
    async run(command: Command): Promise<string> {
      if (command.do === 'join') return told(await rig.join(id, command.user));
      if (command.do === 'leave') return told(await rig.leave(id, command.user));
      if (command.do === 'secure') return secure(command.user, command.place);
      if (command.do === 'cancel') return told(await store.send('POST', `/v1/campaigns/${id}/cancel`));
      await at(Date.parse(endTime) + 1000);
      return '';
    },
    async seen(): Promise<State> {
      const { status, actualParticipants: actual, securedParticipants: secured } = await rig.read(id);
      const rows = await store.database.query<{
        user: string;
        state: string;
        reason: string | null;
        secured: boolean;
        open: boolean;
      }>(
        `select p.user_id as user, p.state, p.reason, p.secured_at is not null as secured,
           y.intent_open and y.status <> 'pending' or y.status = 'pending' and y.stripe_payment_intent_id is null as open
         from group_commerce.participants p join payments.payments y using (payment_id)
         where p.campaign_id = $1 order by p.id`,
        [id],
      );
      const units = await rig.stockOf(sku);
      const places: State['places'] = {};
      for (const { user, state, reason, secured: isSecured } of rows) {
        places[user] = [...(places[user] ?? []), { state, reason, secured: isSecured, atStripe: 'open' }];
      }
      const history = (await rig.eventsOf(id)).filter((topic) => topic !== 'created');
      return {
        ...{ terms, status, actual, secured, places, history },
        stock: { free: units?.quantity ?? 0, held: units?.reserved ?? 0 },
        todo: rows.filter(({ open }) => open).map(() => 'at Stripe'),
      };
    },
  };
}

type Real = {
  open: (terms: State['terms']) => ReturnType<typeof campaignStore>;
  store?: Awaited<ReturnType<typeof campaignStore>>;
};
type Wanted = { do: Command['do']; user: string };

class Commands implements fc.AsyncCommand<{ state: State }, Real> {
  readonly wanted: Wanted[];
  constructor(wanted: Wanted[]) {
    this.wanted = wanted;
  }

  // Its end is of interest while it is open; what a success has left to pay ends by the orders' own rules.
  check = ({ state }: { state: State }) => state.status === 'active' || !this.wanted.some((one) => one.do === 'end');

  async run(model: { state: State }, real: Real): Promise<void> {
    real.store ??= await real.open(model.state.terms);
    const at = real.store;
    const commands = this.wanted.map(({ do: what, user }): Command => {
      if (what === 'secure') return { do: what, user, place: Math.max((model.state.places[user]?.length ?? 0) - 1, 0) };
      return what === 'cancel' || what === 'end' ? { do: what } : { do: what, user };
    });
    const heard = await Promise.all(commands.map((command) => at.run(command)));
    const possible = outcomesOf(campaigns, model.state, commands)
      .filter((outcome) => outcome.heard.join(', ') === heard.join(', '))
      .map(({ state }) => state);
    model.state = await settle(possible, at.seen, at.remind, `${this}: ${heard.join(', ')}`);
  }

  toString = () => this.wanted.map((each) => `${each.do} ${each.user}`).join(' with ');
}

const wanted = (...from: Command['do'][]): fc.Arbitrary<Wanted> =>
  fc.record({ do: fc.constantFrom(...from), user: fc.constantFrom(...users) });
const most: Command['do'][] = ['join', 'join', 'join', 'secure', 'secure', 'leave'];
const one = wanted(...most).map((each) => new Commands([each]));
const end = fc.constantFrom<Command['do']>('cancel', 'end').map((what) => new Commands([{ do: what, user: '' }]));
const race = fc
  .array(wanted(...most, 'cancel'), { minLength: 2, maxLength: 3 })
  .map((all) => new Commands(all.map((each) => (each.do === 'cancel' ? { ...each, user: '' } : each))));
const terms = fc
  .record({
    min: fc.integer({ min: 1, max: 4 }),
    more: fc.nat(2),
    successOn: fc.constantFrom('joined' as const, 'secured' as const),
  })
  .map(({ min, more, successOn }) => ({ min, max: min + more, successOn }));

const check = (commands: fc.Arbitrary<Commands>, maxCommands: number, runs: number) =>
  fc.assert(
    fc.asyncProperty(terms, fc.commands([commands], { maxCommands, size: 'max' }), (chosen, sequence) =>
      fc.asyncModelRun(() => {
        const state: State = {
          ...{ terms: chosen, status: 'active', actual: 0, secured: 0, stock: { free: stock, held: 0 }, places: {} },
          ...{ history: [], todo: [] },
        };
        const real: Real = { open: campaignStore };
        return { model: { state }, real };
      }, sequence),
    ),
    modelRuns(runs),
  );

describe('a campaign’s life', () => {
  test(
    'is what the model predicts, one command after the other',
    () => check(fc.oneof({ arbitrary: one, weight: 12 }, { arbitrary: end, weight: 1 }), 16, 8),
    modelTimeout,
  );

  test(
    'is one of those that some order of the steps explains, when commands come at once',
    () => check(fc.oneof(one, race), 10, 8),
    modelTimeout,
  );
});
