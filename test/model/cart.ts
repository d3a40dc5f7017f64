import type { Model } from './search.ts';

/** `atStripe`: whether the buyer can pay its PaymentIntent. */
export type CartOrder = {
  status: string;
  units: number;
  hold: 'held' | 'committed' | 'released';
  payment: string;
  atStripe: 'unknown' | 'open' | 'paid' | 'closed';
};

/** A cart with one SKU. `status`: as it is stored. `todo`: the pending work of webhooks and consumers. */
export type CartState = {
  status: string;
  units: number;
  orders: CartOrder[];
  free: number;
  held: number;
  todo: string[];
};

export type CartCommand =
  | { do: 'set'; units: number }
  /** `tab`: concurrent checkouts come from different tabs. */
  | { do: 'checkout'; tab: number }
  | { do: 'pay' | 'cancelOrder'; order: number }
  | { do: 'reopen' | 'cancelCart' | 'expireHolds' | 'expireCart' };

const paid = ['confirmed', 'shipped', 'delivered', 'refunded'];

/** The status that the API shows follows from the latest order. */
function shownStatus({ status, orders }: CartState): string {
  if (status !== 'open' && status !== 'ordered') return status;
  const last = orders.at(-1)?.status ?? '';
  return last === 'created' ? 'ordered' : paid.includes(last) ? 'completed' : 'open';
}

function releaseUnits(state: CartState, order: CartOrder): void {
  if (order.hold === 'released') return;
  state.free += order.units;
  if (order.hold === 'held') state.held -= order.units;
  order.hold = 'released';
}

/** Ends an order: its money goes back, or its intent is closed. */
function end(state: CartState, index: number, status: 'cancelled' | 'failed'): void {
  const order = state.orders[index];
  if (!order) return;
  order.status = status;
  releaseUnits(state, order);
  if (order.payment === 'pending') {
    order.payment = status;
    if (order.atStripe !== 'unknown') state.todo.push(`close ${index}`);
  } else if (order.payment === 'succeeded') state.todo.push(`refund ${index}`);
}

function checkout(state: CartState, tab: number, n: number): string {
  const seen = state.todo.findIndex((task) => task.startsWith(`seen ${tab} `));
  if (n === 0) {
    state.todo.push(`seen ${tab} ${state.units}`);
    return '';
  }
  const made = state.todo.findIndex((task) => task.startsWith(`made ${tab} `));
  if (n === 2) {
    const [task] = made < 0 ? [] : state.todo.splice(made, 1);
    const index = Number(task?.split(' ')[2]);
    const order = state.orders[index];
    if (!order) return '';
    order.atStripe = 'open';
    if (order.payment !== 'pending') state.todo.push(`close ${index}`);
    return '';
  }
  const [task = ''] = state.todo.splice(seen, 1);
  if (shownStatus(state) !== 'open') return '409 cart_not_open';
  if (state.units === 0) return '422 cart_incomplete';
  if (task !== `seen ${tab} ${state.units}`) return '409 price_changed';
  if (state.units > state.free) return '409 insufficient_inventory';
  const units = state.units;
  state.free -= units;
  state.held += units;
  state.status = 'ordered';
  state.orders.push({ status: 'created', units, hold: 'held', payment: 'pending', atStripe: 'unknown' });
  state.todo.push(`made ${tab} ${state.orders.length - 1}`);
  return '201';
}

function cancelOrder(state: CartState, index: number): string {
  const status = state.orders[index]?.status ?? '';
  if (status === 'cancelled') return '200';
  if (status !== 'created' && status !== 'confirmed') return '409 order_not_cancellable';
  end(state, index, 'cancelled');
  return '200';
}

function reopen(state: CartState): string {
  if (shownStatus(state) === 'ordered') end(state, state.orders.length - 1, 'cancelled');
  if (shownStatus(state) !== 'open') return '409 cart_not_open';
  state.status = 'open';
  return '200';
}

function cancelCart(state: CartState): string {
  if (state.status !== 'cancelled' && shownStatus(state) !== 'open') return '409 cart_not_open';
  state.status = 'cancelled';
  return '200';
}

/** Stripe reports the money of an order. An order that has ended gets its units again only if no other replaced it. */
function applyPaid(state: CartState, index: number): void {
  const order = state.orders[index];
  if (!order) return;
  order.payment = 'succeeded';
  const isLatest = index === state.orders.length - 1;
  if (order.status === 'failed' && isLatest && order.units <= state.free) {
    state.free -= order.units;
    state.held += order.units;
    order.status = 'created';
  }
  if (order.status !== 'created') {
    state.todo.push(`refund ${index}`);
    return;
  }
  state.held -= order.units;
  Object.assign(order, { status: 'confirmed', hold: 'committed' });
}

/** The rules of carts and their orders. */
export const carts: Model<CartState, CartCommand> = {
  stepsOf: (command) => (command.do === 'checkout' ? 3 : 1),

  step(state, command, n) {
    if (command.do === 'checkout') return checkout(state, command.tab, n);
    if (command.do === 'reopen') return reopen(state);
    if (command.do === 'cancelCart') return cancelCart(state);
    if (command.do === 'cancelOrder') return cancelOrder(state, command.order);
    if (command.do === 'set') {
      if (shownStatus(state) !== 'open') return '409 cart_not_open';
      state.units = command.units;
      return '200';
    }
    if (command.do === 'pay') {
      const order = state.orders[command.order];
      if (order?.atStripe !== 'open') return 'refused';
      order.atStripe = 'paid';
      state.todo.push(`paid ${command.order}`);
      return 'paid';
    }
    if (command.do === 'expireHolds') {
      for (const [index, { status }] of state.orders.entries()) if (status === 'created') end(state, index, 'failed');
      return '';
    }
    const shown = shownStatus(state);
    if (shown === 'open') state.status = 'expired';
    else if (shown !== 'ordered') state.status = shown;
    return '';
  },

  tasks: ({ todo }) => [...new Set(todo.filter((task) => !/^(seen|made)/.test(task)))],

  act(state, task) {
    state.todo.splice(state.todo.indexOf(task), 1);
    const [verb, index] = task.split(' ');
    const order = state.orders[Number(index)];
    if (verb === 'paid') applyPaid(state, Number(index));
    else if (verb === 'refund' && order) order.payment = 'refunded';
    else if (verb === 'close' && order && order.atStripe !== 'paid') order.atStripe = 'closed';
  },
};
