import type { Model } from './search.ts';

/**
 * The state at Stripe. `saved`: a method is stored for later. `taken` and `returned` are cents. A user who joins after
 * the success pays at once, as for an order.
 */
type AtStripe = {
  pays: 'hold' | 'debit' | 'at once';
  status: 'open' | 'saved' | 'held' | 'processing' | 'declined' | 'paid' | 'closed';
  taken: number;
  returned: number;
};

/**
 * The place of a user with its order and its payment, which is `processing` while a bank decides. In cents: `requested`
 * and `refunded` are the sums of the requested and the completed refunds, `refused` is the smallest automatic refund that
 * Stripe has rejected.
 */
export type Place = {
  state: string;
  reason: string | null;
  secured: boolean;
  order: string | null;
  payment: string;
  captured: number;
  requested: number;
  refunded: number;
  refused: number | null;
  atStripe: AtStripe;
};

/** `todo`: the pending work of consumers and webhooks. A user who leaves and joins again has a second place. */
export type State = {
  /** `hold`: a card is authorized at the join. `debit`: a bank account is saved, and charged once there is an order. */
  terms: { min: number; max: number; successOn: 'joined' | 'secured'; method: 'hold' | 'debit' };
  status: string;
  actual: number;
  secured: number;
  stock: { free: number; held: number };
  places: Record<string, Place[]>;
  history: string[];
  todo: string[];
};

export const price = 2000;
export const part = 750;

/** A merchant’s actions in Stripe’s dashboard, on the payment of a place. */
export const actions = ['capture', 'capture part', 'cancel', 'refund', 'refund part'] as const;
export type Action = (typeof actions)[number];

export type Command =
  | { do: 'join'; user: string }
  | { do: 'leave'; user: string }
  /** `place`: the index of the user’s place. It is the newest one when the command was chosen. */
  | { do: 'secure'; user: string; place: number }
  | { do: 'bank'; user: string; place: number; outcome: 'succeed' | 'fail' }
  | { do: 'atStripe'; user: string; place: number; action: Action }
  | { do: 'cancel' }
  | { do: 'end' };

const lastOf = (state: State, user: string): Place | undefined => state.places[user]?.at(-1);
const placeOf = (state: State, name: string): Place | undefined => {
  const [user = '', n] = name.split('/');
  return state.places[user]?.[Number(n)];
};
const nameOf = (state: State, user: string) => `${user}/${(state.places[user]?.length ?? 1) - 1}`;
const isPending = (place: Place) => place.payment === 'pending' || place.payment === 'processing';
const isLive = (place: Place) => isPending(place) || place.payment === 'succeeded';
const awaitsOrder = (place: Place) => place.state === 'joined' || place.state === 'secured';

function succeed(state: State): void {
  state.status = 'successful';
  state.history.push('successful');
  state.todo.push('settle');
}

function join(state: State, user: string): string {
  const known = lastOf(state, user);
  if (known && known.state !== 'released') return '201';
  if (state.status !== 'active' && state.status !== 'successful') return '409 campaign_not_open';
  if (state.actual >= state.terms.max) return '409 campaign_full';
  if (state.stock.free < 1) return '409 insufficient_inventory';
  state.stock.free--;
  state.stock.held++;
  state.actual++;
  const late = state.status === 'successful';
  const place: Place = {
    ...{ state: late ? 'ordered' : 'joined', reason: null, secured: false, order: late ? 'created' : null },
    ...{ payment: 'pending', captured: 0, requested: 0, refunded: 0, refused: null },
    atStripe: { pays: late ? 'at once' : state.terms.method, status: 'open', taken: 0, returned: 0 },
  };
  state.places[user] = [...(state.places[user] ?? []), place];
  state.history.push('joined');
  if (!late && state.terms.successOn === 'joined' && state.actual >= state.terms.min) succeed(state);
  return '201';
}

/** The payment of an ended place is refunded. A refund that Stripe rejected is not repeated, nor a larger one. */
function returnRest(state: State, name: string, place: Place): void {
  const rest = place.captured - place.requested;
  if (rest <= 0 || (place.refused !== null && place.refused <= rest)) return;
  place.requested += rest;
  state.todo.push(`refund ${name} ${rest}`);
}

/** Ends the payment of a place and frees its unit. Stripe releases the money a moment later. */
function endMoney(state: State, name: string, place: Place, ending: 'cancelled' | 'failed'): void {
  if (isPending(place)) {
    place.payment = ending;
    state.todo.push(`close ${name}`);
  } else if (place.payment === 'succeeded') returnRest(state, name, place);
  state.stock.free++;
  state.stock.held--;
}

/** Removes a place from the count. */
function free(state: State, place: Place, reason: string): void {
  if (place.secured) state.secured--;
  state.actual--;
  Object.assign(place, { state: 'released', reason });
  state.history.push('left');
}

function leave(state: State, user: string): string {
  const place = lastOf(state, user);
  if (!place) return '404 not_found';
  if (place.state === 'released') return '200';
  if (state.status !== 'active') return '409 campaign_not_open';
  free(state, place, 'left');
  endMoney(state, nameOf(state, user), place, 'cancelled');
  return '200';
}

function stop(state: State, status: 'failed' | 'expired'): string {
  state.status = status;
  state.history.push(status);
  state.todo.push('release');
  return status === 'failed' ? '200' : '';
}

/** The payment of a place is authorized or captured, or its method is saved: the place counts as secured. */
function secure(state: State, name: string, place: Place): void {
  if (place.secured || (state.status !== 'active' && state.status !== 'successful')) return;
  if (place.state !== 'joined' && place.state !== 'ordered') return;
  place.secured = true;
  state.secured++;
  if (place.state === 'ordered') state.todo.push(`charge ${name}`);
  else place.state = 'secured';
  const enough = state.terms.successOn === 'secured' && state.secured >= state.terms.min;
  if (state.status === 'active' && enough) succeed(state);
}

/** The order of a place is paid. */
function confirmOrder(state: State, place: Place): void {
  if (!place.secured) state.secured++;
  Object.assign(place, { state: 'charged', order: 'confirmed', secured: true });
  state.stock.held--;
}

/** The payment of a place fails, or is only captured in part. Its order fails, or the place if there is no order. */
function giveUp(state: State, name: string, place: Place, reason: string): void {
  if (place.order === 'created') {
    place.order = 'failed';
    endMoney(state, name, place, 'failed');
    state.todo.push(`free ${name} payment_failed`);
  } else if (awaitsOrder(place)) {
    free(state, place, reason);
    endMoney(state, name, place, 'failed');
  }
}

/** Once all the money is refunded, the order is refunded, and the place and its unit are released. */
function countRefunds(state: State, place: Place): void {
  if (place.captured === 0 || place.refunded < place.captured) return;
  place.payment = 'refunded';
  if (place.order === 'confirmed') {
    place.order = 'refunded';
    state.stock.free++;
    free(state, place, 'refunded');
  } else if (awaitsOrder(place)) {
    free(state, place, 'refunded');
    endMoney(state, '', place, 'cancelled');
  }
}

function applyPaid(state: State, name: string, place: Place): void {
  if (place.captured > 0) return;
  place.captured = place.atStripe.taken;
  place.payment = 'succeeded';
  const open = state.status === 'active' || state.status === 'successful';
  let earned = false;
  if (place.captured < price) giveUp(state, name, place, 'captured_in_part');
  else if (awaitsOrder(place) && open) {
    secure(state, name, place);
    earned = true;
  } else if (place.order === 'created') {
    confirmOrder(state, place);
    earned = true;
  }
  countRefunds(state, place);
  if (!earned) returnRest(state, name, place);
}

function applyReturned(state: State, name: string, place: Place, cents: number): void {
  place.refunded += cents;
  countRefunds(state, place);
  const ended = place.order === 'failed' || (place.order === null && place.state === 'released');
  if (ended) returnRest(state, name, place);
}

/** Stripe rejects a refund if one in the dashboard has already returned the money. */
function refund(state: State, name: string, place: Place, cents: number): void {
  const { atStripe } = place;
  if (atStripe.returned + cents <= atStripe.taken) {
    atStripe.returned += cents;
    applyReturned(state, name, place, cents);
    return;
  }
  place.requested -= cents;
  place.refused = Math.min(cents, place.refused ?? cents);
  returnRest(state, name, place);
}

/** Captures the authorization of a place or charges its saved method. A change in the dashboard may come first. */
function charge(state: State, name: string, place: Place): void {
  if (!isPending(place)) return;
  const { atStripe } = place;
  if (atStripe.status === 'held') Object.assign(atStripe, { status: 'paid', taken: price });
  if (atStripe.status === 'saved') {
    atStripe.status = 'processing';
    place.payment = 'processing';
  } else if (atStripe.status === 'paid') state.todo.push(`paid ${name}`);
  else if (atStripe.status === 'closed') state.todo.push(`canceled ${name}`);
}

function decide(state: State, name: string, place: Place | undefined, outcome: 'succeed' | 'fail'): string {
  if (place?.atStripe.status !== 'processing') return 'nothing to decide';
  if (outcome === 'succeed') Object.assign(place.atStripe, { status: 'paid', taken: price });
  else place.atStripe.status = place.atStripe.pays === 'at once' ? 'open' : 'declined';
  state.todo.push(
    `${outcome === 'succeed' ? 'paid' : place.atStripe.status === 'open' ? 'deciding' : 'declined'} ${name}`,
  );
  return outcome;
}

/** Actions in Stripe’s dashboard. A saved method without a charge has no intent there. */
function actAtStripe(state: State, name: string, place: Place | undefined, action: Action): string {
  if (!place) return 'refused';
  const { atStripe } = place;
  const left = atStripe.taken - atStripe.returned;
  const cents = action === 'refund' ? left : part;
  if (action === 'capture' || action === 'capture part') {
    if (atStripe.status !== 'held') return 'refused';
    Object.assign(atStripe, { status: 'paid', taken: action === 'capture' ? price : part });
    state.todo.push(`paid ${name}`);
  } else if (action === 'cancel') {
    const shown = atStripe.status !== 'open' || atStripe.pays !== 'debit';
    if (!shown || ['saved', 'paid', 'closed'].includes(atStripe.status)) return 'refused';
    atStripe.status = 'closed';
    state.todo.push(`canceled ${name}`);
  } else {
    if (left === 0 || cents > left) return 'refused';
    atStripe.returned += cents;
    state.todo.push(`returned ${name} ${cents}`);
  }
  return 'done';
}

function settle(state: State): void {
  for (const [user, places] of Object.entries(state.places)) {
    for (const [n, place] of places.entries()) {
      if (!awaitsOrder(place)) continue;
      const { secured } = place;
      Object.assign(place, { state: 'ordered', order: 'created' });
      if (place.payment === 'succeeded') confirmOrder(state, place);
      else if (secured) state.todo.push(`charge ${user}/${n}`);
    }
  }
}

function releaseAll(state: State): void {
  for (const [user, places] of Object.entries(state.places)) {
    places.forEach((place, n) => {
      if (place.state === 'released') return;
      Object.assign(place, { state: 'released', reason: `campaign_${state.status}` });
      endMoney(state, `${user}/${n}`, place, 'cancelled');
    });
  }
}

function step(state: State, command: Command, n: number): string {
  if (command.do === 'join') return join(state, command.user);
  if (command.do === 'leave') return leave(state, command.user);
  if (command.do === 'end') return state.status === 'active' ? stop(state, 'expired') : '';
  if (command.do === 'cancel') {
    if (state.status === 'failed') return '200';
    return state.status === 'active' ? stop(state, 'failed') : '409 conflict';
  }
  const name = `${command.user}/${command.place}`;
  const place = placeOf(state, name);
  if (command.do === 'bank') return decide(state, name, place, command.outcome);
  if (command.do === 'atStripe') return actAtStripe(state, name, place, command.action);
  if (!place) return n === 0 ? 'no place' : '';
  const paying = `paying ${name}`;
  const at = state.todo.findIndex((task) => task.startsWith(paying) && task.endsWith(' -') === (n === 1));
  if (n === 0) {
    // An ended payment cannot be paid. A successful one needs nothing more.
    if (!isLive(place)) return '409 order_not_payable';
    state.todo.push(`${paying} -`);
    return '201';
  }
  if (at < 0) return '';
  if (n === 1) {
    state.todo[at] = `${paying} ${isPending(place)}`;
    return '';
  }
  const [task = ''] = state.todo.splice(at, 1);
  if (!task.endsWith('true') || place.atStripe.status !== 'open') return 'refused';
  const { atStripe } = place;
  if (atStripe.pays === 'at once' && state.terms.method === 'hold') {
    Object.assign(atStripe, { status: 'paid', taken: price });
    state.todo.push(`paid ${name}`);
  } else if (atStripe.pays === 'at once') {
    atStripe.status = 'processing';
    state.todo.push(`deciding ${name}`);
  } else {
    atStripe.status = atStripe.pays === 'hold' ? 'held' : 'saved';
    state.todo.push(`held ${name}`);
  }
  return 'held';
}

function act(state: State, task: string): void {
  state.todo.splice(state.todo.indexOf(task), 1);
  const [verb, name = '', what = ''] = task.split(' ');
  if (verb === 'settle') settle(state);
  else if (verb === 'release') releaseAll(state);
  const place = placeOf(state, name);
  if (!place) return;
  if (verb === 'held' && isPending(place)) secure(state, name, place);
  else if (verb === 'deciding' && isPending(place))
    place.payment = place.atStripe.status === 'processing' ? 'processing' : 'pending';
  else if (verb === 'charge') charge(state, name, place);
  else if (verb === 'paid') applyPaid(state, name, place);
  else if (verb === 'refund') refund(state, name, place, Number(what));
  else if (verb === 'returned') {
    place.requested += Number(what);
    applyReturned(state, name, place, Number(what));
  } else if (verb === 'declined' && isPending(place)) giveUp(state, name, place, what);
  else if (verb === 'canceled' && isPending(place)) giveUp(state, name, place, 'hold_ended');
  else if (verb === 'free' && place.state !== 'released') free(state, place, what);
  else if (verb === 'close' && place.atStripe.status !== 'paid') place.atStripe.status = 'closed';
}

/** The order of `todo` does not matter. Sorting it makes states that differ only in that order equal. */
const sorted =
  <A extends [State, ...unknown[]], R>(change: (...args: A) => R) =>
  (...args: A): R => {
    const answer = change(...args);
    args[0].todo.sort();
    return answer;
  };

/**
 * The rules of a campaign from the contract. It ends within the validity of an authorization or long after it, and its
 * price is not 0.
 */
export const campaigns: Model<State, Command> = {
  stepsOf: (command) => (command.do === 'secure' ? 3 : 1),
  step: sorted(step),
  tasks: (state) => [...new Set(state.todo.filter((task) => !task.startsWith('paying')))],
  act: sorted(act),
};
