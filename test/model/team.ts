import type { Model } from './search.ts';

/** How a saved card is charged: `fails` is declined, and for `asks` the bank asks for the buyer. */
type Card = 'good' | 'fails' | 'asks';
/**
 * A card that is authorized at the join, or `saved` and charged on success. `asked`: its charge waits for the buyer.
 * Amounts are cents.
 */
type AtStripe = {
  status: 'open' | 'held' | 'saved' | 'asked' | 'paid' | 'closed';
  card: Card;
  taken: number;
  returned: number;
};

/** The place of a user in a team (its index). `id`: its index, which only the model knows. */
export type Place = {
  user: string;
  team: number;
  quantity: number;
  state: string;
  reason: string | null;
  secured: boolean;
  merge: boolean;
  order: string | null;
  payment: string;
  captured: number;
  refunded: number;
  /** The bank has asked for the buyer. */
  asked: boolean;
  atStripe: AtStripe;
};

/** `history`: the topics of its events, in order. `mergedInto`: the index of a team. */
export type Team = {
  leader: string;
  joined: number;
  secured: number;
  refusals: number;
  status: string;
  mergedInto: number | null;
  history: string[];
};

/**
 * `isLong`: the campaign ends so late that the card of a place that may be merged is saved, and not held.
 */
type Terms = {
  size: number;
  successOn: 'joined' | 'secured';
  onShort: 'release' | 'merge';
  limit: number | null;
  isLong: boolean;
};

/** Teams in the order in which they were opened. `units`: of users in a campaign with a limit. */
export type State = {
  terms: Terms;
  status: string;
  teams: Team[];
  places: Place[];
  units: Record<string, number>;
  stock: { free: number; held: number };
  history: string[];
  todo: string[];
};

export const price = 2000;

export type Command =
  | { do: 'open'; user: string; quantity: number; merge: boolean }
  | { do: 'join'; user: string; team: number; by: 'id' | 'code'; quantity: number; merge: boolean }
  | { do: 'leave'; user: string; team: number }
  /** `place`: the index of a live place. */
  | { do: 'secure'; place: number; card?: 'declined' | 'fails' | 'asks' }
  | { do: 'refund'; place: number }
  /** The time of the teams up to this one ends. */
  | { do: 'pass'; team: number }
  | { do: 'cancel' }
  | { do: 'end' };

/** Whether the card of a place is saved, and charged when its team succeeds. */
const savesCard = ({ terms }: State, { merge }: Place): boolean => terms.isLong && terms.onShort === 'merge' && merge;

const isLive = ({ state }: Place) => state !== 'released';
const awaitsOrder = ({ state }: Place) => state === 'joined' || state === 'secured';

/** The team that the code of this team leads to. */
function presentOf(state: State, team: number): number {
  const into = state.teams[team]?.mergedInto ?? null;
  return into === null ? team : presentOf(state, into);
}

const liveIn = (state: State, team: number): Place[] =>
  state.places.filter((place) => isLive(place) && place.team === team);

function succeed(state: State, index: number, team: Team): void {
  team.status = 'successful';
  team.history.push('successful');
  state.todo.push(`settle ${index}`);
}

/** Why a user may not have this many more units, or null. */
function fault({ terms, units, stock }: State, user: string, quantity: number): string | null {
  if (terms.limit !== null && (units[user] ?? 0) + quantity > terms.limit) return '409 limit_per_customer';
  return stock.free < quantity ? '409 insufficient_inventory' : null;
}

type Joiner = { user: string; quantity: number; merge: boolean };

function take(state: State, team: number, { user, quantity, merge }: Joiner): void {
  if (state.terms.limit !== null) state.units[user] = (state.units[user] ?? 0) + quantity;
  state.stock.free -= quantity;
  state.stock.held += quantity;
  state.places.push({
    ...{ user, team, quantity, state: 'joined', reason: null, secured: false, merge, order: null, payment: 'pending' },
    ...{ captured: 0, refunded: 0, asked: false },
    atStripe: { status: 'open', card: 'good', taken: 0, returned: 0 },
  });
}

function open(state: State, joiner: Joiner): string {
  if (state.status !== 'active') return '409 campaign_not_open';
  const reason = fault(state, joiner.user, joiner.quantity);
  if (reason) return reason;
  take(state, state.teams.length, joiner);
  state.teams.push({
    ...{ leader: joiner.user, joined: 1, secured: 0, refusals: Number(!joiner.merge), status: 'forming' },
    ...{ mergedInto: null, history: ['created'] },
  });
  return '201';
}

function join(state: State, { team: index, by, ...joiner }: Command & { do: 'join' }): string {
  const at = by === 'code' ? presentOf(state, index) : index;
  const team = state.teams[at];
  if (!team) return 'no team';
  if (liveIn(state, at).some(({ user }) => user === joiner.user)) return '201';
  const keeps = team.status === 'forming' || team.status === 'successful';
  if (keeps && team.joined >= state.terms.size) return '409 team_full';
  if (team.status !== 'forming') return '409 team_not_open';
  if (state.status !== 'active') return '409 campaign_not_open';
  const reason = fault(state, joiner.user, joiner.quantity);
  if (reason) return reason;
  take(state, at, joiner);
  team.joined++;
  team.refusals += Number(!joiner.merge);
  team.history.push('joined');
  if (state.terms.successOn === 'joined' && team.joined === state.terms.size) succeed(state, at, team);
  return '201';
}

/** Ends the payment of a place and frees its units. Stripe releases the money a moment later. */
function endMoney(state: State, place: Place, ending: 'cancelled' | 'failed'): void {
  if (place.payment === 'pending') {
    place.payment = ending;
    state.todo.push(`close ${state.places.indexOf(place)}`);
  }
  state.stock.free += place.quantity;
  state.stock.held -= place.quantity;
}

function giveUnitsBack(state: State, { user, quantity }: Place): void {
  if (state.terms.limit !== null) state.units[user] = (state.units[user] ?? 0) - quantity;
}

/** Takes a place out of its team. The earliest member leads then, and a forming team without members is cancelled. */
function free(state: State, place: Place, reason: string): void {
  const team = state.teams[place.team];
  if (!team) return;
  Object.assign(place, { state: 'released', reason });
  giveUnitsBack(state, place);
  team.joined--;
  if (place.secured) team.secured--;
  if (!place.merge) team.refusals--;
  if (team.leader === place.user) team.leader = liveIn(state, place.team)[0]?.user ?? team.leader;
  team.history.push('left');
  if (team.status === 'forming' && team.joined === 0) {
    team.status = 'cancelled';
    team.history.push('cancelled');
  }
}

function leave(state: State, { user, team }: Command & { do: 'leave' }): string {
  const present = presentOf(state, team);
  const own = state.places.filter((place) => place.user === user && (place.team === team || place.team === present));
  const place = own.find(isLive);
  if (!place) return own.length > 0 ? '200' : '404 not_found';
  if (state.teams[place.team]?.status !== 'forming') return '409 team_not_open';
  free(state, place, 'left');
  endMoney(state, place, 'cancelled');
  return '200';
}

type Room = { index: number; room: number; runs: boolean; users: string[] };

/** Which of the `ended` teams move into which other teams: [from, into]. Teams above `last` still have time. */
function planMerges(state: State, ended: number[], last: number): [number, number][] {
  const { terms, teams } = state;
  if (terms.onShort !== 'merge' || state.status !== 'active') return [];
  const usersOf = (index: number) => liveIn(state, index).map(({ user }) => user);
  // In a team whose time is over, no further place can be secured.
  const isSure = ({ joined, secured }: Team) => terms.successOn === 'joined' || secured === joined;
  const rooms = teams.flatMap((team, index): Room[] => {
    const runs = index > last;
    if (team.status !== 'forming' || team.refusals > 0 || !(runs || isSure(team))) return [];
    return [{ index, room: terms.size - team.joined, runs, users: usersOf(index) }];
  });
  const moves: [number, Room][] = [];
  for (const runs of [true, false]) {
    for (const index of [...ended].reverse()) {
      const team = teams[index];
      if (!team || team.refusals > 0 || team.joined >= terms.size || !(runs || isSure(team))) continue;
      if (moves.some(([from, into]) => from === index || into.index === index)) continue;
      const users = usersOf(index);
      const able = rooms.filter(
        (other) =>
          other.runs === runs &&
          other.room >= team.joined &&
          other.index !== index &&
          !moves.some(([from]) => from === other.index) &&
          !other.users.some((user) => users.includes(user)),
      );
      const into = able.find((other) => !runs && other.room === team.joined) ?? able[0];
      if (!into) continue;
      moves.push([index, into]);
      into.room -= team.joined;
      into.users.push(...users);
    }
  }
  return moves.flatMap(([from, into]) =>
    into.runs || into.room === 0 ? [[from, into.index] as [number, number]] : [],
  );
}

/** The time of all teams up to `last` is over. They are merged into others, or end. */
function pass(state: State, last: number): string {
  const ended = state.teams.flatMap(({ status }, index) => (status === 'forming' && index <= last ? [index] : []));
  const targets = new Set<number>();
  for (const [from, into] of planMerges(state, ended, last)) {
    const [team, target] = [state.teams[from], state.teams[into]];
    if (!team || !target) continue;
    for (const place of liveIn(state, from)) place.team = into;
    target.joined += team.joined;
    target.secured += team.secured;
    Object.assign(team, { status: 'merged', mergedInto: into });
    team.history.push('merged');
    targets.add(into);
  }
  for (const index of targets) {
    const team = state.teams[index];
    if (team?.[state.terms.successOn] === state.terms.size) succeed(state, index, team);
  }
  for (const index of ended) {
    const team = state.teams[index];
    if (team?.status === 'forming') stopTeam(state, index, state.status === 'failed' ? 'cancelled' : 'expired');
  }
  return '';
}

function stopTeam(state: State, index: number, status: 'expired' | 'cancelled'): void {
  const team = state.teams[index];
  if (!team) return;
  team.status = status;
  team.history.push(status);
  state.todo.push(`release ${index}`);
}

/** The end of the campaign: first of its teams, then of itself. */
function end(state: State, n: number): string {
  if (n === 0) return pass(state, state.teams.length);
  const has = (status: string) => state.teams.some((team) => team.status === status);
  if (state.status !== 'active' || has('forming')) return '';
  state.status = has('successful') ? 'successful' : 'expired';
  state.history.push(state.status);
  return '';
}

function cancel(state: State): string {
  if (state.status === 'failed') return '200';
  if (state.status !== 'active') return '409 conflict';
  state.status = 'failed';
  state.history.push('failed');
  state.todo.push('cancel teams');
  return '200';
}

function secure(state: State, place: Place): void {
  const team = state.teams[place.team];
  if (!team || place.secured || !isLive(place)) return;
  const isKept = team.status === 'successful' || (team.status === 'forming' && state.status === 'active');
  if (!isKept) return;
  place.secured = true;
  team.secured++;
  if (place.state === 'ordered') state.todo.push(`charge ${state.places.indexOf(place)}`);
  else place.state = 'secured';
  const isFull = state.terms.successOn === 'secured' && team.secured === state.terms.size;
  if (team.status === 'forming' && isFull) succeed(state, place.team, team);
}

/** Opens the payment, reads it, and confirms at Stripe: the card, or the charge for which the bank has asked. */
function pay(state: State, { place: index, card }: Command & { do: 'secure' }, n: number): string {
  const place = state.places[index];
  if (!place) return '';
  const paying = `paying ${index}`;
  if (n === 0) {
    if (place.payment !== 'pending' && place.payment !== 'succeeded') return '409 order_not_payable';
    state.todo.push(`${paying} -`);
    return '201';
  }
  const at = state.todo.findIndex((task) => task.startsWith(`${paying} `) && task.endsWith(' -') === (n === 1));
  if (at < 0) return '';
  if (n === 1) {
    const what = place.asked ? 'charge' : 'card';
    state.todo[at] = `${paying} ${place.payment === 'pending' ? what : 'nothing'}`;
    return '';
  }
  const [task = ''] = state.todo.splice(at, 1);
  const { atStripe } = place;
  if (card === 'declined') return 'refused';
  if (task.endsWith(' charge') && atStripe.status === 'asked') {
    capture(state, index, place);
    return 'paid';
  }
  if (!task.endsWith(' card') || atStripe.status !== 'open') return 'refused';
  atStripe.status = savesCard(state, place) ? 'saved' : 'held';
  atStripe.card = atStripe.status === 'saved' ? (card ?? 'good') : 'good';
  state.todo.push(`held ${index}`);
  return atStripe.status;
}

function capture(state: State, index: number, place: Place): void {
  Object.assign(place.atStripe, { status: 'paid', taken: price * place.quantity });
  state.todo.push(`paid ${index}`);
}

/** Charges a place of a successful team: captures the hold, or charges the saved card. */
function charge(state: State, index: number, place: Place): void {
  const { status, card } = place.atStripe;
  if (status === 'held' || (status === 'saved' && card === 'good')) capture(state, index, place);
  else if (status !== 'saved') return;
  else if (card === 'asks') {
    place.atStripe.status = 'asked';
    state.todo.push(`asked ${index}`);
  } else {
    place.atStripe.status = 'closed';
    state.todo.push(`failed ${index}`);
  }
}

function refund(state: State, index: number): string {
  const { atStripe } = state.places[index] ?? {};
  if (atStripe?.status !== 'paid' || atStripe.returned > 0) return 'refused';
  atStripe.returned = atStripe.taken;
  state.todo.push(`returned ${index}`);
  return 'done';
}

function applyPaid(state: State, place: Place): void {
  if (place.captured > 0 || place.order !== 'created') return;
  Object.assign(place, { captured: place.atStripe.taken, payment: 'succeeded' });
  Object.assign(place, { state: 'charged', order: 'confirmed' });
  state.stock.held -= place.quantity;
}

/** The money was refunded in full: the order is refunded, and the units are for sale again. */
function applyReturned(state: State, place: Place): void {
  Object.assign(place, { refunded: place.captured, payment: 'refunded', order: 'refunded' });
  state.stock.free += place.quantity;
  free(state, place, 'refunded');
}

function act(state: State, task: string): void {
  state.todo.splice(state.todo.indexOf(task), 1);
  const [verb, name = ''] = task.split(' ');
  const index = Number(name);
  const place = state.places[index];
  if (verb === 'cancel') {
    state.teams.forEach(({ status }, n) => {
      if (status === 'forming') stopTeam(state, n, 'cancelled');
    });
  } else if (verb === 'settle') {
    for (const one of liveIn(state, index).filter(awaitsOrder)) {
      const { secured } = one;
      Object.assign(one, { state: 'ordered', order: 'created' });
      if (secured) state.todo.push(`charge ${state.places.indexOf(one)}`);
    }
  } else if (verb === 'release') {
    for (const one of liveIn(state, index)) {
      Object.assign(one, { state: 'released', reason: `team_${state.teams[index]?.status}` });
      giveUnitsBack(state, one);
      endMoney(state, one, 'cancelled');
    }
  } else if (!place) return;
  else if (verb === 'held' && place.payment === 'pending') secure(state, place);
  else if (verb === 'charge' && place.payment === 'pending') charge(state, index, place);
  else if (verb === 'asked') place.asked = true;
  else if (verb === 'failed') {
    Object.assign(place, { payment: 'failed', order: 'failed' });
    state.stock.free += place.quantity;
    state.stock.held -= place.quantity;
    state.todo.push(`lost ${index}`);
  } else if (verb === 'lost') free(state, place, 'payment_failed');
  else if (verb === 'paid') applyPaid(state, place);
  else if (verb === 'returned') applyReturned(state, place);
  else if (verb === 'close' && place.atStripe.status !== 'paid') place.atStripe.status = 'closed';
}

function step(state: State, command: Command, n: number): string {
  if (command.do === 'open') return open(state, command);
  if (command.do === 'join') return join(state, command);
  if (command.do === 'leave') return leave(state, command);
  if (command.do === 'secure') return pay(state, command, n);
  if (command.do === 'refund') return refund(state, command.place);
  if (command.do === 'pass') return pass(state, command.team);
  return command.do === 'cancel' ? cancel(state) : end(state, n);
}

/** The order of `todo` does not matter. Sorting it makes states that differ only in that order equal. */
const sorted =
  <A extends [State, ...unknown[]], R>(change: (...args: A) => R) =>
  (...args: A): R => {
    const answer = change(...args);
    args[0].todo.sort();
    return answer;
  };

const steps: Partial<Record<Command['do'], number>> = { secure: 3, end: 2 };

/** The rules of a campaign with teams from the contract. The price is not 0. */
export const teams: Model<State, Command> = {
  stepsOf: (command) => steps[command.do] ?? 1,
  step: sorted(step),
  tasks: (state) => [...new Set(state.todo.filter((task) => !task.startsWith('paying')))],
  act: sorted(act),
};

/** What the store shows of a state: without the order of the places, and without what only the model knows. */
export function viewOf({ places, units, ...state }: State) {
  const shown = places.map(({ atStripe: _, ...place }) => place);
  return {
    ...state,
    places: shown.map((place) => JSON.stringify(place, Object.keys(place).sort())).sort(),
    units: Object.fromEntries(Object.entries(units).filter(([, count]) => count !== 0)),
  };
}
