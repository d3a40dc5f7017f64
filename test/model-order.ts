import type { Model } from './model-search.ts';

/** Money in cents. `promised` and `back`: of refunds, asked for and done. `debit`: we know that a bank is deciding. */
export type Payment = {
  status: string;
  captured: number;
  promised: number;
  back: number;
  debit: boolean;
  atStripe: 'open' | 'processing' | 'paid' | 'closed';
};

export type Order = {
  name: string;
  units: Record<string, number>;
  total: number;
  addressed: boolean;
  status: string;
  reason: string | null;
  hold: 'held' | 'committed' | 'released' | 'refused';
  payment: Payment | null;
  shipment: string | null;
  history: string[];
};

/** `todo`: what our consumers and Stripe's webhooks still have to do, each `verb name [cents]`. */
export type State = {
  stock: Record<string, { free: number; held: number }>;
  orders: Record<string, Order>;
  todo: string[];
};

export type Confirm = 'pay' | 'decline' | 'debit';
const confirms = ['pay', 'decline', 'debit'];

export type Command =
  | { do: 'place'; order: string; units: Record<string, number>; total: number; addressed: boolean }
  /** By a card, by one that is declined, or by a bank debit that stays undecided. */
  | { do: Confirm; order: string }
  | { do: 'bank'; order: string; outcome: 'succeed' | 'fail' }
  /** In Stripe's dashboard. */
  | { do: 'refundAtStripe'; order: string; cents: number | null }
  | { do: 'cancel'; order: string }
  /** The cron reaches this order alone. */
  | { do: 'lapse'; order: string }
  | { do: 'refund'; order: string; cents: number | null }
  | { do: 'track'; order: string; status: 'in_transit' | 'delivered' }
  | { do: 'adjust'; sku: string; delta: number }
  | { do: 'count'; sku: string; quantity: number }
  | { do: 'expire' };

function orderOf(state: State, name: string): Order {
  const order = state.orders[name];
  if (!order) throw new Error(`no order ${name}`);
  return order;
}

function stockOf(state: State, sku: string) {
  const stock = state.stock[sku];
  if (!stock) throw new Error(`no stock of ${sku}`);
  return stock;
}

/** Takes every unit of an order, or none. */
function take(state: State, order: Order): boolean {
  const lines = Object.entries(order.units);
  if (lines.some(([sku, n]) => stockOf(state, sku).free < n)) return false;
  for (const [sku, n] of lines) {
    stockOf(state, sku).free -= n;
    stockOf(state, sku).held += n;
  }
  return true;
}

/** Gives back what an order has, held or sold, and says so. */
function giveBack(state: State, order: Order): void {
  if (order.hold !== 'held' && order.hold !== 'committed') return;
  for (const [sku, n] of Object.entries(order.units)) {
    stockOf(state, sku).free += n;
    if (order.hold === 'held') stockOf(state, sku).held -= n;
  }
  order.hold = 'released';
  order.history.push('inventory.released');
}

function openPayment(order: Order): boolean {
  const { payment } = order;
  if (payment && (payment.status === 'pending' || payment.status === 'succeeded')) return true;
  if (order.status !== 'created') return false;
  order.payment = { status: 'pending', captured: 0, promised: 0, back: 0, debit: false, atStripe: 'open' };
  order.history.push('payment.created');
  return true;
}

function promise(state: State, order: Order, payment: Payment, cents: number): void {
  payment.promised += cents;
  order.history.push('payment.refund.requested');
  state.todo.push(`refund ${order.name} ${cents}`);
}

/** What becomes of the money of an order that ends. */
function endPayment(state: State, order: Order, ending: 'failed' | 'cancelled'): void {
  const { payment } = order;
  if (payment?.status === 'pending') {
    payment.status = ending;
    payment.debit = false;
    order.history.push(`payment.${ending}`);
    state.todo.push(`close ${order.name}`);
  } else if (payment?.status === 'succeeded' && payment.captured > payment.promised) {
    promise(state, order, payment, payment.captured - payment.promised);
  }
}

function place(state: State, { order: name, units, total, addressed }: Command & { do: 'place' }): string {
  const order: Order = {
    ...{ name, units, total, addressed, status: 'created', reason: null, hold: 'held', payment: null, shipment: null },
    history: ['order.created'],
  };
  state.orders[name] = order;
  if (take(state, order)) {
    order.history.push('inventory.reserved');
    state.todo.push(`open ${name}`);
    return '201';
  }
  Object.assign(order, { status: 'failed', reason: 'insufficient_inventory', hold: 'refused' });
  order.history.push('inventory.insufficient', 'order.failed');
  return '409 insufficient_inventory';
}

/** A shipment that has not moved ends with its order. True if there is one: then sold units stay out of the stock. */
function endShipment(order: Order): boolean {
  if (order.shipment === 'created') {
    order.shipment = 'cancelled';
    order.history.push('shipping.cancelled');
  }
  return order.shipment !== null;
}

function cancel(state: State, order: Order): string {
  if (order.status === 'cancelled') return '200';
  if (order.status !== 'created' && order.status !== 'confirmed') return '409 order_not_cancellable';
  order.status = 'cancelled';
  order.history.push('order.cancelled');
  const labelled = endShipment(order);
  endPayment(state, order, 'cancelled');
  if (!labelled || order.hold === 'held') giveBack(state, order);
  return '200';
}

function refund(state: State, order: Order, cents: number | null): string {
  if (!order.payment) return 'no payment';
  const left = order.payment.captured - order.payment.promised;
  const wanted = cents ?? left;
  if (wanted <= 0 || wanted > left) return '422 refund_exceeds_payment';
  promise(state, order, order.payment, wanted);
  return '201';
}

const way = ['created', 'cancelled', 'in_transit', 'delivered'];

function track(order: Order, status: string): string {
  if (order.shipment === null) return 'no shipment';
  if (way.indexOf(status) > way.indexOf(order.shipment)) {
    order.shipment = status;
    order.history.push('shipping.status.changed');
  }
  if (order.status === 'confirmed' && status === 'in_transit') order.status = 'shipped';
  if ((order.status === 'confirmed' || order.status === 'shipped') && status === 'delivered')
    order.status = 'delivered';
  return '200';
}

/** The cron at a time when this order's hold, if it is held, has run out. A hold lasts while a bank decides. */
function lapse(state: State, order: Order | undefined): string {
  if (order?.status === 'created' && order.hold === 'held' && !order.payment?.debit) {
    order.status = 'failed';
    order.reason = 'reservation_expired';
    order.history.push('order.failed');
    endPayment(state, order, 'failed');
    giveBack(state, order);
  }
  return '';
}

/** The buyer's card at Stripe: it has no transaction with us, and hears of an order's end only later. */
function confirm(state: State, order: Order, secret: boolean, how: string): string {
  if (!secret || order.payment?.atStripe !== 'open') return 'refused';
  if (how === 'decline') return 'declined';
  if (how === 'debit') {
    order.payment.atStripe = 'processing';
    state.todo.push(`deciding ${order.name}`);
    return 'processing';
  }
  order.payment.atStripe = 'paid';
  state.todo.push(`paid ${order.name}`);
  return 'paid';
}

/** The bank decides a debit. */
function decide(state: State, order: Order, outcome: 'succeed' | 'fail'): string {
  if (order.payment?.atStripe !== 'processing') return 'nothing to decide';
  order.payment.atStripe = outcome === 'succeed' ? 'paid' : 'open';
  state.todo.push(`${outcome === 'succeed' ? 'paid' : 'undone'} ${order.name}`);
  return outcome;
}

/** Stripe says that a bank is deciding, or that it has refused. */
function hearDebit(order: Order): void {
  const { payment } = order;
  if (payment?.status === 'pending') payment.debit = payment.atStripe === 'processing';
}

/** What a merchant gives back at Stripe, which knows of no promises of ours. */
function refundAtStripe(state: State, order: Order, cents: number | null): string {
  const { payment } = order;
  const left = payment?.atStripe === 'paid' ? payment.captured - payment.back : 0;
  const wanted = cents ?? left;
  if (left === 0 || wanted > left) return 'refused';
  state.todo.push(`returned ${order.name} ${wanted}`);
  return 'refunded';
}

/** Stripe says that the money is there. Its stock is final then, is taken again, or the money goes back. */
function hearPaid(state: State, order: Order): void {
  const { payment } = order;
  if (!payment || payment.status === 'succeeded' || payment.status === 'refunded') return;
  payment.status = 'succeeded';
  payment.debit = false;
  payment.captured = order.total;
  order.history.push('payment.succeeded');
  const again = order.status === 'failed' && order.hold === 'released' && take(state, order);
  if (again) order.history.push('inventory.reserved');
  if (!again && order.status !== 'created') {
    promise(state, order, payment, payment.captured);
    return;
  }
  for (const [sku, n] of Object.entries(order.units)) stockOf(state, sku).held -= n;
  Object.assign(order, { hold: 'committed', status: 'confirmed', reason: null });
  order.history.push('order.confirmed');
  if (order.addressed) state.todo.push(`label ${order.name}`);
}

function hearRefunded(state: State, order: Order, cents: number): void {
  const { payment } = order;
  if (!payment) return;
  payment.back += cents;
  order.history.push('payment.refunded');
  if (payment.back < payment.captured) return;
  payment.status = 'refunded';
  if (!['confirmed', 'shipped', 'delivered'].includes(order.status)) return;
  order.status = 'refunded';
  order.history.push('order.refunded');
  if (!endShipment(order)) giveBack(state, order);
}

/** An order's life, and the stock's, as the contract has them. */
export const orders: Model<State, Command> = {
  stepsOf: (command) => (confirms.includes(command.do) ? 3 : 1),

  step(state, command, n) {
    if (command.do === 'place') return place(state, command);
    if (command.do === 'lapse') return lapse(state, state.orders[command.order]);
    if (command.do === 'expire')
      return Object.values(state.orders)
        .map((order) => lapse(state, order))
        .join('');
    if (command.do === 'adjust' || command.do === 'count') {
      if (command.do === 'adjust' && command.delta === 0) return '422 validation_failed';
      const stock = stockOf(state, command.sku);
      const after = command.do === 'count' ? command.quantity : stock.free + command.delta;
      if (after < 0) return '409 insufficient_inventory';
      stock.free = after;
      return command.do === 'count' ? '200' : '201';
    }
    const order = orderOf(state, command.order);
    if (command.do === 'cancel') return cancel(state, order);
    if (command.do === 'refund') return refund(state, order, command.cents);
    if (command.do === 'track') return track(order, command.status);
    if (command.do === 'bank') return decide(state, order, command.outcome);
    if (command.do === 'refundAtStripe') return refundAtStripe(state, order, command.cents);
    // The payment is asked for; its answer is read; the card is shown to Stripe with what it says.
    const asked = `asked ${order.name} ${command.do}`;
    if (n === 0) {
      if (!openPayment(order)) return '409 order_not_payable';
      state.todo.push(`${asked} -`);
      return '201';
    }
    const at = state.todo.findIndex((task) => task.startsWith(asked));
    if (at < 0) return '';
    if (n === 1) {
      state.todo[at] = `${asked} ${order.payment?.status === 'pending'}`;
      return '';
    }
    const [told = ''] = state.todo.splice(at, 1);
    return confirm(state, order, told.endsWith(' true'), command.do);
  },

  tasks: (state) => [...new Set(state.todo.filter((task) => !task.startsWith('asked')))],

  act(state, task) {
    state.todo.splice(state.todo.indexOf(task), 1);
    const [verb, name = '', cents] = task.split(' ');
    const order = orderOf(state, name);
    if (verb === 'open') openPayment(order);
    else if (verb === 'paid') hearPaid(state, order);
    else if (verb === 'deciding' || verb === 'undone') hearDebit(order);
    else if (verb === 'returned' && order.payment) {
      order.payment.promised += Number(cents);
      hearRefunded(state, order, Number(cents));
    } else if (verb === 'refund') hearRefunded(state, order, Number(cents));
    else if (verb === 'label' && order.status === 'confirmed') {
      order.shipment = 'created';
      order.history.push('shipping.label.created');
    } else if (verb === 'close' && order.payment) {
      // Stripe refuses to close what is paid, and then says so.
      if (order.payment.atStripe !== 'paid') order.payment.atStripe = 'closed';
    }
  },
};
