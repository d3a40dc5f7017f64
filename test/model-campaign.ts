import type { Model } from './model-search.ts';

/** A user's place. `atStripe`: what the card shows to Stripe, which hears of a place's end only later. */
export type Place = { state: string; reason: string | null; secured: boolean; atStripe: 'open' | 'held' | 'closed' };

/** `todo`: what consumers and Stripe's webhooks still have to do. A user that has left and joined again has a new place. */
export type State = {
  terms: { min: number; max: number; successOn: 'joined' | 'secured' };
  status: string;
  actual: number;
  secured: number;
  stock: { free: number; held: number };
  places: Record<string, Place[]>;
  history: string[];
  todo: string[];
};

export type Command =
  | { do: 'join'; user: string }
  | { do: 'leave'; user: string }
  /** `place`: which of the user's, the newest when it was asked for. */
  | { do: 'secure'; user: string; place: number }
  | { do: 'cancel' }
  | { do: 'end' };

const lastOf = (state: State, user: string): Place | undefined => state.places[user]?.at(-1);
const placeOf = (state: State, name: string): Place | undefined => {
  const [user = '', n] = name.split('/');
  return state.places[user]?.[Number(n)];
};
const nameOf = (state: State, user: string) => `${user}/${(state.places[user]?.length ?? 1) - 1}`;

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
  const place: Place = { state: late ? 'ordered' : 'joined', reason: null, secured: false, atStripe: 'open' };
  state.places[user] = [...(state.places[user] ?? []), place];
  state.history.push('joined');
  if (!late && state.terms.successOn === 'joined' && state.actual >= state.terms.min) succeed(state);
  return '201';
}

/** Its unit is free again; what Stripe holds for it is let go a moment later. */
function release(state: State, name: string, reason: string): void {
  const place = placeOf(state, name);
  if (!place) return;
  Object.assign(place, { state: 'released', reason });
  state.stock.free++;
  state.stock.held--;
  state.todo.push(`close ${name}`);
}

function leave(state: State, user: string): string {
  const place = lastOf(state, user);
  if (!place) return '404 not_found';
  if (place.state === 'released') return '200';
  if (state.status !== 'active') return '409 campaign_not_open';
  if (place.secured) state.secured--;
  state.actual--;
  release(state, nameOf(state, user), 'left');
  state.history.push('left');
  return '200';
}

function stop(state: State, status: 'failed' | 'expired'): string {
  state.status = status;
  state.history.push(status);
  state.todo.push('release');
  return status === 'failed' ? '200' : '';
}

/** Stripe says that the money of a place is held: it counts. */
function hearHeld(state: State, name: string): void {
  const place = placeOf(state, name);
  if (!place || place.secured || (state.status !== 'active' && state.status !== 'successful')) return;
  if (place.state !== 'joined' && place.state !== 'ordered') return;
  place.secured = true;
  state.secured++;
  if (place.state === 'ordered') state.todo.push(`charge ${name}`);
  else place.state = 'secured';
  const enough = state.terms.successOn === 'secured' && state.secured >= state.terms.min;
  if (state.status === 'active' && enough) succeed(state);
}

/** A campaign's life as the contract has it. It ends within what a hold lasts, and nothing is free of charge. */
export const campaigns: Model<State, Command> = {
  stepsOf: (command) => (command.do === 'secure' ? 3 : 1),

  step(state, command, n) {
    if (command.do === 'join') return join(state, command.user);
    if (command.do === 'leave') return leave(state, command.user);
    if (command.do === 'end') return state.status === 'active' ? stop(state, 'expired') : '';
    if (command.do === 'cancel') {
      if (state.status === 'failed') return '200';
      return state.status === 'active' ? stop(state, 'failed') : '409 conflict';
    }
    const name = `${command.user}/${command.place}`;
    const place = placeOf(state, name);
    if (!place) return n === 0 ? 'no place' : '';
    const asked = `asked ${name}`;
    const at = state.todo.findIndex((task) => task.startsWith(asked));
    if (n === 0) {
      // Before its order is there, a place that was released can not be paid; what is paid has nothing more to be asked.
      if (place.state === 'released') return '409 order_not_payable';
      state.todo.push(`${asked} -`);
      return '201';
    }
    if (at < 0) return '';
    if (n === 1) {
      state.todo[at] = `${asked} ${place.state !== 'released' && place.state !== 'charged'}`;
      return '';
    }
    const [told = ''] = state.todo.splice(at, 1);
    if (!told.endsWith('true') || place.atStripe !== 'open') return 'refused';
    place.atStripe = 'held';
    state.todo.push(`held ${name}`);
    return 'held';
  },

  tasks: (state) => [...new Set(state.todo.filter((task) => !task.startsWith('asked')))],

  act(state, task) {
    state.todo.splice(state.todo.indexOf(task), 1);
    const [verb, name = ''] = task.split(' ');
    const place = placeOf(state, name);
    if (verb === 'held') hearHeld(state, name);
    else if (verb === 'close' && place) place.atStripe = 'closed';
    else if (verb === 'charge' && place) {
      place.state = 'charged';
      state.stock.held--;
    } else if (verb === 'settle') {
      for (const [user, places] of Object.entries(state.places)) {
        for (const [n, each] of places.entries()) {
          if (each.state !== 'joined' && each.state !== 'secured') continue;
          if (each.state === 'secured') state.todo.push(`charge ${user}/${n}`);
          each.state = 'ordered';
        }
      }
    } else if (verb === 'release') {
      for (const [user, places] of Object.entries(state.places)) {
        places.forEach((each, n) => {
          if (each.state !== 'released') release(state, `${user}/${n}`, `campaign_${state.status}`);
        });
      }
    }
  },
};
