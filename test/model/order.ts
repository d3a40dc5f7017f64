import type { Model } from './search.ts';

/** `ours`: made by the system because the order has ended. All others are a merchant's. */
export type Refund = { cents: number; ours: boolean; status: 'pending' | 'succeeded' | 'failed' };

/**
 * Money in cents. `promised` and `back`: the sums of the refunds that have not failed and that are done. `debit`: we know
 * that a bank is deciding. `atStripe` is `unknown` until Stripe has made the PaymentIntent.
 */
export type Payment = {
  status: string;
  captured: number;
  refunds: Refund[];
  promised: number;
  back: number;
  debit: boolean;
  atStripe: 'unknown' | 'open' | 'processing' | 'paid' | 'closed';
};

export type Order = {
  name: string;
  units: Record<string, number>;
  total: number;
  addressed: boolean;
  status: string;
  reason: string | null;
  hold: 'held' | 'committed' | 'released' | 'refused';
  /** The last one counts. A further one is opened when the intent of the one before was cancelled at Stripe. */
  payments: Payment[];
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
  | { do: 'cancelAtStripe'; order: string }
  /** A bank sends the largest refund that has succeeded back to the merchant. */
  | { do: 'bounce'; order: string }
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

const paymentOf = (order: Order): Payment | undefined => order.payments.at(-1);

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
  const status = paymentOf(order)?.status;
  if (status === 'pending' || status === 'succeeded') return true;
  if (order.status !== 'created') return false;
  const sums = { captured: 0, promised: 0, back: 0 };
  order.payments.push({ status: 'pending', ...sums, refunds: [], debit: false, atStripe: 'unknown' });
  order.history.push('payment.created');
  return true;
}

const textOf = ({ cents, ours }: Pick<Refund, 'cents' | 'ours'>) => `${cents} ${ours ? 'ours' : 'merchant'}`;

/** Adds up the refunds, the largest first. */
function count(payment: Payment): void {
  const sum = (of: Refund[]) => of.reduce((cents, refund) => cents + refund.cents, 0);
  const keyOf = (of: Refund) => `${String(of.cents).padStart(9, '0')} ${of.ours ? 0 : 1} ${of.status}`;
  payment.refunds.sort((a, b) => (keyOf(a) > keyOf(b) ? -1 : 1));
  payment.promised = sum(payment.refunds.filter(({ status }) => status !== 'failed'));
  payment.back = sum(payment.refunds.filter(({ status }) => status === 'succeeded'));
}

function makeIntent(payment: Payment | undefined): void {
  if (payment?.atStripe === 'unknown') payment.atStripe = 'open';
}

function promise(state: State, order: Order, payment: Payment, cents: number, ours: boolean): void {
  payment.refunds.push({ cents, ours, status: 'pending' });
  count(payment);
  order.history.push('payment.refund.requested');
  state.todo.push(`refund ${order.name} ${textOf({ cents, ours })}`);
}

/** Promises all that an ended order has. A refund of ours that has failed is not made again, nor is a larger one. */
function returnRest(state: State, order: Order, payment: Payment): void {
  const rest = payment.captured - payment.promised;
  const refused = payment.refunds.some(({ cents, ours, status }) => ours && status === 'failed' && cents <= rest);
  if (rest > 0 && !refused) promise(state, order, payment, rest, true);
}

/** What becomes of the money of an order that ends. */
function endPayment(state: State, order: Order, ending: 'failed' | 'cancelled'): void {
  const payment = paymentOf(order);
  if (payment?.status === 'pending') {
    payment.status = ending;
    payment.debit = false;
    order.history.push(`payment.${ending}`);
    state.todo.push(`close ${order.name}`);
  } else if (payment?.status === 'succeeded') returnRest(state, order, payment);
}

function place(state: State, { order: name, units, total, addressed }: Command & { do: 'place' }): string {
  const order: Order = {
    ...{ name, units, total, addressed, status: 'created', reason: null, hold: 'held', payments: [], shipment: null },
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
  const payment = paymentOf(order);
  if (!payment) return 'no payment';
  const left = payment.captured - payment.promised;
  const wanted = cents ?? left;
  if (wanted <= 0 || wanted > left) return '422 refund_exceeds_payment';
  promise(state, order, payment, wanted, false);
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
  if (order?.status === 'created' && order.hold === 'held' && !paymentOf(order)?.debit) {
    order.status = 'failed';
    order.reason = 'reservation_expired';
    order.history.push('order.failed');
    endPayment(state, order, 'failed');
    giveBack(state, order);
  }
  return '';
}

/** The buyer's card at Stripe: it has no transaction with us, and hears of an order's end only later. */
function confirm(state: State, order: Order, payment: Payment | undefined, how: string): string {
  if (payment?.atStripe !== 'open') return 'refused';
  if (how === 'decline') return 'declined';
  if (how === 'debit') {
    payment.atStripe = 'processing';
    state.todo.push(`deciding ${order.name}`);
    return 'processing';
  }
  payment.atStripe = 'paid';
  state.todo.push(`paid ${order.name}`);
  return 'paid';
}

/** The bank decides a debit. */
function decide(state: State, order: Order, outcome: 'succeed' | 'fail'): string {
  const payment = paymentOf(order);
  if (payment?.atStripe !== 'processing') return 'nothing to decide';
  payment.atStripe = outcome === 'succeed' ? 'paid' : 'open';
  state.todo.push(`${outcome === 'succeed' ? 'paid' : 'undone'} ${order.name}`);
  return outcome;
}

/** Stripe says that a bank is deciding, or that it has refused. */
function hearDebit(order: Order): void {
  const payment = paymentOf(order);
  if (payment?.status === 'pending') payment.debit = payment.atStripe === 'processing';
}

/** What a merchant gives back at Stripe, which knows of no promises of ours. */
function refundAtStripe(state: State, order: Order, cents: number | null): string {
  const payment = paymentOf(order);
  const left = payment?.atStripe === 'paid' ? payment.captured - payment.back : 0;
  const wanted = cents ?? left;
  if (left === 0 || wanted > left) return 'refused';
  state.todo.push(`returned ${order.name} ${textOf({ cents: wanted, ours: false })}`);
  return 'refunded';
}

/** Somebody cancels the intent at Stripe, which refuses it once it is paid or cancelled. */
function cancelAtStripe(state: State, order: Order): string {
  const payment = paymentOf(order);
  if (payment?.atStripe !== 'open' && payment?.atStripe !== 'processing') return 'refused';
  payment.atStripe = 'closed';
  state.todo.push(`canceled ${order.name} ${order.payments.length - 1}`);
  return 'cancelled';
}

/** Stripe says that the intent is cancelled. The buyer may pay an order that is still held by another payment. */
function hearCanceled(order: Order, payment: Payment | undefined): void {
  if (payment?.status !== 'pending') return;
  Object.assign(payment, { status: 'cancelled', debit: false });
  order.history.push('payment.cancelled');
}

function bounce(state: State, order: Order): string {
  const refund = paymentOf(order)?.refunds.find(({ status }) => status === 'succeeded');
  if (!refund) return 'no refund';
  state.todo.push(`bounced ${order.name} ${textOf(refund)}`);
  return 'failed';
}

/** A bank sends a refund back. A refunded order is what it was before, if it has or gets its units; else it is cancelled. */
function hearBounced(state: State, order: Order, cents: number, ours: boolean): void {
  const payment = paymentOf(order);
  const refund = payment?.refunds.find((one) => one.cents === cents && one.ours === ours && one.status === 'succeeded');
  if (!payment || !refund) return;
  refund.status = 'failed';
  count(payment);
  order.history.push('payment.refund.failed');
  if (payment.status === 'refunded' && payment.back < payment.captured) payment.status = 'succeeded';
  if (payment.status === 'succeeded' && order.status === 'refunded') takeBack(state, order);
  if (order.status === 'cancelled' || order.status === 'failed') returnRest(state, order, payment);
}

function takeBack(state: State, order: Order): void {
  if (order.hold !== 'committed') {
    if (!take(state, order)) {
      Object.assign(order, { status: 'cancelled', reason: 'refund_failed' });
      order.history.push('order.cancelled');
      return;
    }
    order.history.push('inventory.reserved');
    sell(state, order);
  }
  const reached: Record<string, string> = { in_transit: 'shipped', delivered: 'delivered' };
  order.status = reached[order.shipment ?? ''] ?? 'confirmed';
  order.history.push('order.refund.failed');
}

/** The units that an order holds are its own for good. */
function sell(state: State, order: Order): void {
  for (const [sku, n] of Object.entries(order.units)) stockOf(state, sku).held -= n;
  order.hold = 'committed';
}

/** Stripe says that the money is there. Its stock is final then, is taken again, or the money goes back. */
function hearPaid(state: State, order: Order): void {
  const payment = paymentOf(order);
  if (!payment || payment.status === 'succeeded' || payment.status === 'refunded') return;
  payment.status = 'succeeded';
  payment.debit = false;
  payment.captured = order.total;
  order.history.push('payment.succeeded');
  const again = order.status === 'failed' && order.hold === 'released' && take(state, order);
  if (again) order.history.push('inventory.reserved');
  if (!again && order.status !== 'created') {
    returnRest(state, order, payment);
    return;
  }
  sell(state, order);
  Object.assign(order, { status: 'confirmed', reason: null });
  order.history.push('order.confirmed');
  if (order.addressed) state.todo.push(`label ${order.name}`);
}

function hearRefunded(state: State, order: Order, cents: number, ours: boolean, made: boolean): void {
  const payment = paymentOf(order);
  if (!payment) return;
  const known = payment.refunds.find((one) => one.cents === cents && one.ours === ours && one.status === 'pending');
  if (known && !made) known.status = 'succeeded';
  else payment.refunds.push({ cents, ours, status: 'succeeded' });
  count(payment);
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
    if (command.do === 'cancelAtStripe') return cancelAtStripe(state, order);
    if (command.do === 'bounce') return bounce(state, order);
    // The payment is asked for; Stripe makes its intent and the answer is read; the card is shown to Stripe with what it says.
    const asked = `asked ${order.name} ${command.do}`;
    if (n === 0) {
      if (!openPayment(order)) return '409 order_not_payable';
      state.todo.push(`${asked} ${order.payments.length - 1} -`);
      return '201';
    }
    const at = state.todo.findIndex((task) => task.startsWith(asked));
    if (at < 0) return '';
    const which = state.todo[at]?.split(' ')[3];
    const payment = order.payments[Number(which)];
    if (n === 1) {
      makeIntent(payment);
      state.todo[at] = `${asked} ${which} ${payment?.status === 'pending'}`;
      return '';
    }
    const [told = ''] = state.todo.splice(at, 1);
    return told.endsWith(' true') ? confirm(state, order, payment, command.do) : 'refused';
  },

  tasks: (state) => [...new Set(state.todo.filter((task) => !task.startsWith('asked')))],

  act(state, task) {
    state.todo.splice(state.todo.indexOf(task), 1);
    const [verb, name = '', which, by] = task.split(' ');
    const order = orderOf(state, name);
    const payment = paymentOf(order);
    if (verb === 'open') {
      if (openPayment(order)) makeIntent(paymentOf(order));
    } else if (verb === 'paid') hearPaid(state, order);
    else if (verb === 'deciding' || verb === 'undone') hearDebit(order);
    else if (verb === 'canceled') hearCanceled(order, order.payments[Number(which)]);
    else if (verb === 'returned') hearRefunded(state, order, Number(which), false, true);
    else if (verb === 'refund') hearRefunded(state, order, Number(which), by === 'ours', false);
    else if (verb === 'bounced') hearBounced(state, order, Number(which), by === 'ours');
    else if (verb === 'label' && order.status === 'confirmed') {
      order.shipment = 'created';
      order.history.push('shipping.label.created');
    } else if (verb === 'close' && payment) {
      // Stripe refuses to close what is paid, and then says so.
      if (payment.atStripe !== 'paid') payment.atStripe = 'closed';
    }
  },
};
