import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Reply, type Store, startStore } from '../support/harness.ts';
import { paymentFixture } from '../support/payments.ts';
import { chooseFrom, outcomesOf } from './search.ts';
import { modelRuns, modelTimeout, settle } from './settle.ts';
import { type Command, type Place, price, type State, teams, viewOf } from './team.ts';

let store: Store;
beforeAll(async () => {
  store = await startStore();
});
afterAll(() => store.close());

const users = ['ada', 'bob', 'cyd', 'dan'];
const stock = 6;
const mostTeams = 4;
/**
 * The teams and the campaign end before a place is freed because its money is not secured. The end of a long campaign
 * is never reached.
 */
const seconds = { team: 300, campaign: 420, longCampaign: 30 * 86_400 };
const outcomeOf = ({ status, body }: Reply) => (status < 400 ? String(status) : `${status} ${body.code}`);

const cards = {
  good: 'pm_card_visa',
  declined: 'pm_card_visa_chargeDeclined',
  fails: 'pm_card_chargeCustomerFail',
  asks: 'pm_card_authenticationRequired',
};

type Bound = { command: Command; teams: TeamRow[]; order?: string; intent?: string | null };
type TeamRow = { id: string; code: string; merged_into: string | null; end_time: Date };
type PlaceRow = { place: Omit<Place, 'team' | 'atStripe'>; team: string; open: boolean; order: string; intent: string };

/** A separate campaign with teams in the store, on which the commands of the model run. */
async function teamStore(terms: State['terms']) {
  const fixture = campaignFixture(store);
  const { emulator, state: books } = paymentFixture(store);
  const { id, sku, endTime } = await fixture.start(`T${randomBytes(4).toString('hex')}`, stock, {
    ...{ minParticipants: undefined, maxParticipants: undefined, mode: 'teams', teamSize: terms.size },
    ...{ teamSeconds: seconds.team, successOn: terms.successOn, onShort: terms.onShort, price: price / 100 },
    ...(terms.limit === null ? {} : { maxPerCustomer: terms.limit }),
    endTime: new Date(Date.now() + (terms.isLong ? seconds.longCampaign : seconds.campaign) * 1000).toISOString(),
  });
  const at = (time: number) => store.cron('* * * * *', new Date(time));

  const readTeams = () =>
    store.database.query<TeamRow & { row: Omit<State['teams'][number], 'mergedInto'> }>(
      `select t.id, t.code, t.merged_into, t.end_time, jsonb_build_object('leader', t.leader, 'joined', t.joined,
         'secured', t.secured, 'refusals', t.merge_refusals, 'status', t.status, 'history', (
           select coalesce(jsonb_agg(substr(e.topic, 21) order by e.seq), '[]') from platform.events e
           where e.key = t.id)) as row
       from group_commerce.teams t where t.campaign_id = $1 order by t.id`,
      [id],
    );
  const readPlaces = () =>
    store.database.query<PlaceRow>(
      `select p.order_id as "order", p.team_id as team, y.stripe_payment_intent_id as intent, jsonb_build_object(
           'user', p.user_id, 'quantity', p.quantity, 'state', p.state, 'reason', p.reason, 'merge', p.merge,
           'secured', p.secured_at is not null, 'order', o.status, 'payment', y.status,
           'asked', exists (select from platform.events e where e.topic = 'payment.action.required'
             and e.key = y.payment_id), 'captured', (y.captured * 100)::int, 'refunded', (y.refund_done * 100)::int) as place,
         y.intent_open and y.status <> 'pending'
           or y.status = 'pending' and coalesce(y.stripe_payment_intent_id, y.setup_intent_id) is null as open
       from group_commerce.participants p join payments.payments y using (payment_id)
       left join orders.orders o on o.id = p.order_id where p.campaign_id = $1 order by p.id`,
      [id],
    );

  async function authenticate(setup: string): Promise<boolean> {
    try {
      await emulator('POST', `setup_intents/${setup}/authenticate`, { outcome: 'succeed' });
      return true;
    } catch (error) {
      // Another confirmation has replaced this one meanwhile.
      if (/there is nothing to authenticate/.test(String(error))) return false;
      throw error;
    }
  }

  async function secure(orderId: string, card: 'declined' | 'fails' | 'asks' | undefined): Promise<string> {
    const opened = await store.send('POST', '/v1/payments', { orderId });
    if (opened.status !== 201) return outcomeOf(opened);
    const secret: string | null = opened.body.clientSecret;
    const [intent = ''] = secret?.split('_secret_') ?? [];
    if (intent === '') return '201 refused';
    const confirmation = { payment_method: cards[card ?? 'good'], return_url: 'https://shop.test' };
    try {
      if (intent.startsWith('pi_')) {
        if (card !== 'declined') confirmation.payment_method = cards.good;
        const { status } = await fixture.stripe.paymentIntents.confirm(intent, confirmation);
        return status === 'succeeded' ? '201 paid' : '201 held';
      }
      // Another confirmation at the same time may replace one that waits for the bank. The buyer then tries again.
      for (let attempt = 0; attempt < 10; attempt++) {
        const { status } = await fixture.stripe.setupIntents.confirm(intent, confirmation);
        if (status !== 'requires_action' || (await authenticate(intent))) return '201 saved';
      }
      return '201 refused';
    } catch {
      return '201 refused';
    }
  }

  async function refund(intent: string | null | undefined): Promise<string> {
    try {
      await emulator('POST', 'dashboard/refund', { payment_intent: intent });
      return 'done';
    } catch {
      return 'refused';
    }
  }

  return {
    remind: () => at(Date.now() + 200_000),
    /** Finds the rows that a command names, before commands run at the same time. */
    async bind(command: Command, state: State): Promise<Bound> {
      const rows = await readTeams();
      if (command.do !== 'secure' && command.do !== 'refund') return { command, teams: rows };
      const chosen = state.places[command.place];
      const found = (await readPlaces()).find(
        ({ place, team }) =>
          place.user === chosen?.user && place.state !== 'released' && team === rows[chosen.team]?.id,
      );
      return { command, teams: rows, order: found?.order ?? '', intent: found?.intent ?? null };
    },
    async run({ command, teams: rows, order = '', intent }: Bound): Promise<string> {
      if (command.do === 'secure') return secure(order, command.card);
      if (command.do === 'refund') return refund(intent);
      if (command.do === 'cancel') return outcomeOf(await store.send('POST', `/v1/campaigns/${id}/cancel`));
      if (command.do === 'open') {
        const { user: userId, quantity, merge } = command;
        return outcomeOf(await store.send('POST', `/v1/campaigns/${id}/teams`, { userId, quantity, merge }));
      }
      if (command.do === 'end') {
        await at(Date.parse(endTime) + 1000);
        return '';
      }
      const team = rows[command.team];
      if (!team) return 'no team';
      if (command.do === 'pass') {
        await at(Math.max(...rows.slice(0, command.team + 1).map(({ end_time }) => end_time.getTime())) + 1);
        return '';
      }
      const { user: userId } = command;
      if (command.do === 'leave') return outcomeOf(await store.send('POST', `/v1/teams/${team.id}/leave`, { userId }));
      const path = command.by === 'id' ? team.id : `by-code/${team.code}`;
      const { quantity, merge } = command;
      return outcomeOf(await store.send('POST', `/v1/teams/${path}/join`, { userId, quantity, merge }));
    },
    async readView() {
      const { status } = await fixture.read(id);
      const [rows, places] = [await readTeams(), await readPlaces()];
      const index = (team: string) => rows.findIndex((row) => row.id === team);
      const units = await store.database.query<{ user_id: string; units: number }>(
        'select user_id, units from group_commerce.campaign_customers where campaign_id = $1',
        [id],
      );
      const inStock = await fixture.stockOf(sku);
      return viewOf({
        ...{ terms, status, history: (await fixture.eventsOf(id)).filter((topic) => topic !== 'created') },
        teams: rows.map(({ row, merged_into: into }) => ({ ...row, mergedInto: into === null ? null : index(into) })),
        places: places.map(({ place, team }) => ({ ...place, team: index(team) }) as Place),
        units: Object.fromEntries(units.map((row) => [row.user_id, row.units])),
        stock: { free: inStock?.quantity ?? 0, held: inStock?.reserved ?? 0 },
        todo: places.filter(({ open }) => open).map(() => 'at Stripe'),
      });
    },
    /** What Stripe has captured and refunded for the campaign. */
    async books() {
      const orders = new Set((await readPlaces()).map(({ order }) => order));
      const made = (await books()).intents.filter(({ metadata }) => orders.has(metadata.orderId ?? ''));
      const sum = (of: 'captured' | 'refunded') => made.reduce((cents, intent) => cents + intent[of], 0);
      return { taken: sum('captured'), returned: sum('refunded') };
    },
  };
}

type Real = {
  open: (terms: State['terms']) => ReturnType<typeof teamStore>;
  store?: Awaited<ReturnType<typeof teamStore>>;
};
/** A command before its user, team and place are chosen. `loose`: also a command that would change nothing. */
type Wanted = { do: Command['do']; n: number; loose: boolean };

class Commands implements fc.AsyncCommand<{ state: State }, Real> {
  readonly wanted: Wanted[];
  constructor(wanted: Wanted[]) {
    this.wanted = wanted;
  }

  check = () => true;

  of(state: State, { do: what, n, loose }: Wanted): Command | undefined {
    const quantity = n % 5 === 0 ? 2 : 1;
    const merge = n % 7 !== 0;
    const known = state.teams.map((_, team) => team);
    const live = state.places.flatMap((place, index) => (place.state === 'released' ? [] : [index]));
    const all = (): Command[] => {
      if (what === 'end' && state.terms.isLong) return [];
      if (what === 'cancel' || what === 'end') return [{ do: what }];
      if (what === 'pass') return known.map((team) => ({ do: what, team }));
      if (what === 'refund') return live.map((place) => ({ do: what, place }));
      if (what === 'secure')
        return live.map((place) => {
          const card = ([undefined, 'declined', 'fails', 'asks'] as const)[n % (state.terms.isLong ? 4 : 8)];
          return { do: what, place, ...(card === undefined ? {} : { card }) };
        });
      if (what === 'open')
        return known.length < mostTeams ? users.map((user) => ({ do: what, user, quantity, merge })) : [];
      return users.flatMap((user) =>
        known.flatMap((team): Command[] => {
          if (what === 'leave') return [{ do: what, user, team }];
          return [{ do: 'join', user, team, by: n % 2 === 0 ? 'code' : 'id', quantity, merge }];
        }),
      );
    };
    const commands = all();
    if (commands.length === 0 && what !== 'open' && known.length < mostTeams)
      return this.of(state, { do: 'open', n, loose });
    return commands.length === 0 ? undefined : chooseFrom(teams, state, commands, n, loose);
  }

  async run(model: { state: State }, real: Real): Promise<void> {
    real.store ??= await real.open(model.state.terms);
    const at = real.store;
    let hasOpened = false;
    const commands = this.wanted.flatMap((wanted) => {
      const command = this.of(model.state, wanted);
      // The order of two teams that are opened at the same time is not known.
      if (!command || (command.do === 'open' && hasOpened)) return [];
      hasOpened ||= command.do === 'open';
      return [command];
    });
    const bound = await Promise.all(commands.map((command) => at.bind(command, model.state)));
    const replies = await Promise.all(bound.map((command) => at.run(command)));
    const possible = outcomesOf(teams, model.state, commands)
      .filter((outcome) => outcome.replies.join(', ') === replies.join(', '))
      .map(({ state }) => ({ ...viewOf(state), atStripe: state }));
    const text = `${JSON.stringify(commands)}: ${replies.join(', ')}`;
    // The members named `atStripe` are not compared, so the state of the model comes along.
    const read = async () => ({ ...(await at.readView()), atStripe: model.state });
    model.state = (await settle(possible, read, at.remind, text)).atStripe;
  }

  toString = () => this.wanted.map((each) => JSON.stringify(each)).join(' with ');
}

const wanted = (...from: Command['do'][]): fc.Arbitrary<Wanted> =>
  fc.record({
    do: fc.constantFrom(...from),
    n: fc.nat(999),
    loose: fc.constantFrom(true, false, false, false),
  });
const most: Command['do'][] = [
  ...(['open', 'open', 'open', 'join', 'join', 'join', 'join', 'secure', 'secure', 'secure'] as const),
  ...(['leave', 'pass', 'pass', 'refund'] as const),
];
const one = wanted(...most).map((each) => new Commands([each]));
const end = wanted('cancel', 'end').map((each) => new Commands([each]));
const race = fc
  .array(wanted(...most, 'pass', 'cancel'), { minLength: 2, maxLength: 3 })
  .map((all) => new Commands(all));
/** Three teams of different users who may be merged. */
const opening = [1, 2, 3].map((n) => new Commands([{ do: 'open', n, loose: false }]));
const terms = fc.record({
  size: fc.constantFrom(2, 3, 3),
  successOn: fc.constantFrom('joined' as const, 'secured' as const),
  onShort: fc.constantFrom('merge' as const, 'merge' as const, 'release' as const),
  limit: fc.constantFrom(null, null, 1, 2, 3),
  isLong: fc.constant(false),
});
/** Small teams, so that most succeed and their saved cards are charged. */
const longTerms = fc.record({
  size: fc.constant(2),
  successOn: fc.constantFrom('joined' as const, 'secured' as const),
  onShort: fc.constant('merge' as const),
  limit: fc.constantFrom(null, null, null, 3),
  isLong: fc.constant(true),
});
const charging = wanted('join', 'join', 'secure', 'secure', 'secure', 'secure', 'refund', 'pass');

const check = (from: fc.Arbitrary<State['terms']>, commands: fc.Arbitrary<Commands>, length: number, runs: number) =>
  fc.assert(
    fc.asyncProperty(from, fc.array(commands, { minLength: length, maxLength: length }), async (chosen, sequence) => {
      const state: State = {
        ...{ terms: chosen, status: 'active', teams: [], places: [], units: {}, history: [], todo: [] },
        stock: { free: stock, held: 0 },
      };
      const model = { state };
      const real: Real = { open: teamStore };
      await fc.asyncModelRun(() => ({ model, real }), [...opening, ...sequence]);
      const sum = (of: 'captured' | 'refunded') => model.state.places.reduce((cents, place) => cents + place[of], 0);
      expect(await real.store?.books(), 'what Stripe has').toEqual({
        taken: sum('captured'),
        returned: sum('refunded'),
      });
    }),
    { ...modelRuns(runs), seed: Number(process.env.MODEL_SEED ?? 20261215) },
  );

describe('a campaign with teams in the store', () => {
  test(
    'behaves as the model predicts, command by command',
    () => check(terms, fc.oneof({ arbitrary: one, weight: 24 }, { arbitrary: end, weight: 1 }), 18, 6),
    modelTimeout,
  );

  test(
    'ends in a state that the model predicts for some order of concurrent steps',
    () => check(terms, fc.oneof(one, race, race), 7, 8),
    modelTimeout,
  );

  test(
    'charges saved cards when a team succeeds, and waits for the buyer or loses the place if the bank declines',
    () =>
      check(
        longTerms,
        fc.oneof(
          charging.map((each) => new Commands([each])),
          fc.array(charging, { minLength: 2, maxLength: 2 }).map((all) => new Commands(all)),
        ),
        11,
        6,
      ),
    modelTimeout,
  );
});
