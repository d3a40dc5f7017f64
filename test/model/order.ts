import type { Model } from './search.ts';

/** `automatic`: made by the system because the order has ended. All others are made by a merchant. */
export type Refund = { cents: number; automatic: boolean; status: 'pending' | 'succeeded' | 'failed' };

/**
 * Money in cents. `requested`: the sum of all refunds that have not failed. `refunded`: the sum of the completed refunds.
 * `debit`: the store knows that a bank is deciding. `atStripe` is `unknown` until Stripe has created the PaymentIntent.
 */
export type Payment = {
  status: string;
  captured: number;
  refunds: Refund[];
  requested: number;
  refunded: number;
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
  /** Whether it uses the code that only `mostUses` orders may use at a time. */
  use: 'none' | 'taken' | 'returned';
  /** The last payment counts. A further one is created after the intent of the previous one was cancelled at Stripe. */
  payments: Payment[];
  shipment: string | null;
  history: string[];
};

/** How many orders may use the discount code of a run. */
export const mostUses = 2;

/**
 * `uses`: the taken uses of the code. `todo`: the pending work of consumers and webhooks, each as `verb name [cents]`.
 */
export type State = {
  stock: Record<string, { free: number; held: number }>;
  orders: Record<string, Order>;
  uses: number;
  todo: string[];
};

export type Confirm = 'pay' | 'decline' | 'debit';
const confirms = ['pay', 'decline', 'debit'];

export type Command =
  | { do: 'place'; order: string; units: Record<string, number>; total: number; addressed: boolean; coded: boolean }
  /** With a card, with a card that is declined, or with a bank debit that stays undecided. */
  | { do: Confirm; order: string }
  | { do: 'bank'; order: string; outcome: 'succeed' | 'fail' }
  /** In Stripe’s dashboard. */
  | { do: 'refundAtStripe'; order: string; cents: number | null }
  | { do: 'cancelAtStripe'; order: string }
  /** A bank returns the largest completed refund to the merchant. */
  | { do: 'bounce'; order: string }
  | { do: 'cancel'; order: string }
  /** The cron processes only this order. */
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

/** Returns the held or sold units of an order to the stock, and emits the event. */
function returnUnits(state: State, order: Order): void {
  if (order.hold !== 'held' && order.hold !== 'committed') return;
  for (const [sku, n] of Object.entries(order.units)) {
    stockOf(state, sku).free += n;
    if (order.hold === 'held') stockOf(state, sku).held -= n;
  }
  order.hold = 'released';
  order.history.push('inventory.released');
}

/** Gives back the use of an order that fails or is cancelled. */
function returnUse(state: State, order: Order): void {
  if (order.use !== 'taken') return;
  order.use = 'returned';
  state.uses--;
}

function openPayment(order: Order): boolean {
  const status = paymentOf(order)?.status;
  if (status === 'pending' || status === 'succeeded') return true;
  if (order.status !== 'created') return false;
  const sums = { captured: 0, requested: 0, refunded: 0 };
  order.payments.push({ status: 'pending', ...sums, refunds: [], debit: false, atStripe: 'unknown' });
  order.history.push('payment.created');
  return true;
}

const textOf = ({ cents, automatic }: Pick<Refund, 'cents' | 'automatic'>) =>
  `${cents} ${automatic ? 'automatic' : 'merchant'}`;

/** Sorts the refunds, the largest first, and adds them up. */
function count(payment: Payment): void {
  const sum = (of: Refund[]) => of.reduce((cents, refund) => cents + refund.cents, 0);
  const keyOf = (of: Refund) => `${String(of.cents).padStart(9, '0')} ${of.automatic ? 0 : 1} ${of.status}`;
  payment.refunds.sort((a, b) => (keyOf(a) > keyOf(b) ? -1 : 1));
  payment.requested = sum(payment.refunds.filter(({ status }) => status !== 'failed'));
  payment.refunded = sum(payment.refunds.filter(({ status }) => status === 'succeeded'));
}

function makeIntent(payment: Payment | undefined): void {
  if (payment?.atStripe === 'unknown') payment.atStripe = 'open';
}

function requestRefund(state: State, order: Order, payment: Payment, cents: number, automatic: boolean): void {
  payment.refunds.push({ cents, automatic, status: 'pending' });
  count(payment);
  order.history.push('payment.refund.requested');
  state.todo.push(`refund ${order.name} ${textOf({ cents, automatic })}`);
}

/**
 * Requests the refund of all that an ended order has paid. A failed automatic refund is not repeated, nor a larger one.
 */
function returnRest(state: State, order: Order, payment: Payment): void {
  const rest = payment.captured - payment.requested;
  const refused = payment.refunds.some(
    ({ cents, automatic, status }) => automatic && status === 'failed' && cents <= rest,
  );
  if (rest > 0 && !refused) requestRefund(state, order, payment, rest, true);
}

/** Ends the payment of an order that ends. */
function endPayment(state: State, order: Order, ending: 'failed' | 'cancelled'): void {
  const payment = paymentOf(order);
  if (payment?.status === 'pending') {
    payment.status = ending;
    payment.debit = false;
    order.history.push(`payment.${ending}`);
    state.todo.push(`close ${order.name}`);
  } else if (payment?.status === 'succeeded') returnRest(state, order, payment);
}

function place(state: State, { order: name, units, total, addressed, coded }: Command & { do: 'place' }): string {
  if (coded && state.uses === mostUses) return '422 discount_invalid';
  if (coded) state.uses++;
  const order: Order = {
    use: coded ? 'taken' : 'none',
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
  returnUse(state, order);
  return '409 insufficient_inventory';
}

/** Cancels a shipment that has not moved. Returns true if there is one: then sold units stay out of the stock. */
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
  returnUse(state, order);
  if (!labelled || order.hold === 'held') returnUnits(state, order);
  return '200';
}

function refund(state: State, order: Order, cents: number | null): string {
  const payment = paymentOf(order);
  if (!payment) return 'no payment';
  const left = payment.captured - payment.requested;
  const wanted = cents ?? left;
  if (wanted <= 0 || wanted > left) return '422 refund_exceeds_payment';
  requestRefund(state, order, payment, wanted, false);
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

/** The cron at a time when this order’s hold has expired. A hold lasts as long as a bank is deciding. */
function lapse(state: State, order: Order | undefined): string {
  if (order?.status === 'created' && order.hold === 'held' && !paymentOf(order)?.debit) {
    order.status = 'failed';
    order.reason = 'reservation_expired';
    order.history.push('order.failed');
    endPayment(state, order, 'failed');
    returnUse(state, order);
    returnUnits(state, order);
  }
  return '';
}

/** The buyer pays at Stripe, outside our transactions. Stripe is notified of the order’s end only later. */
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

/** A webhook reports that a bank is deciding, or that it has rejected the debit. */
function applyDebit(order: Order): void {
  const payment = paymentOf(order);
  if (payment?.status === 'pending') payment.debit = payment.atStripe === 'processing';
}

/** A merchant refunds at Stripe, which does not know the refunds that the store has only requested. */
function refundAtStripe(state: State, order: Order, cents: number | null): string {
  const payment = paymentOf(order);
  const left = payment?.atStripe === 'paid' ? payment.captured - payment.refunded : 0;
  const wanted = cents ?? left;
  if (left === 0 || wanted > left) return 'refused';
  state.todo.push(`returned ${order.name} ${textOf({ cents: wanted, automatic: false })}`);
  return 'refunded';
}

/** Somebody cancels the intent at Stripe. Stripe rejects that for a paid or cancelled intent. */
function cancelAtStripe(state: State, order: Order): string {
  const payment = paymentOf(order);
  if (payment?.atStripe !== 'open' && payment?.atStripe !== 'processing') return 'refused';
  payment.atStripe = 'closed';
  state.todo.push(`canceled ${order.name} ${order.payments.length - 1}`);
  return 'cancelled';
}

/** A webhook reports that the intent is cancelled. The buyer can pay a held order with another payment. */
function applyCanceled(order: Order, payment: Payment | undefined): void {
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

/**
 * A bank returns a refund. A refunded order gets its former status if its units are available, or else it is cancelled.
 */
function applyBounced(state: State, order: Order, cents: number, automatic: boolean): void {
  const payment = paymentOf(order);
  const refund = payment?.refunds.find(
    (one) => one.cents === cents && one.automatic === automatic && one.status === 'succeeded',
  );
  if (!payment || !refund) return;
  refund.status = 'failed';
  count(payment);
  order.history.push('payment.refund.failed');
  if (payment.status === 'refunded' && payment.refunded < payment.captured) payment.status = 'succeeded';
  if (payment.status === 'succeeded' && order.status === 'refunded') reactivate(state, order);
  if (order.status === 'cancelled' || order.status === 'failed') returnRest(state, order, payment);
}

function reactivate(state: State, order: Order): void {
  if (order.hold !== 'committed') {
    if (!take(state, order)) {
      Object.assign(order, { status: 'cancelled', reason: 'refund_failed' });
      returnUse(state, order);
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

/** The held units of an order become sold units. */
function sell(state: State, order: Order): void {
  for (const [sku, n] of Object.entries(order.units)) stockOf(state, sku).held -= n;
  order.hold = 'committed';
}

/**
 * A webhook reports the payment. The units become sold, or they and the use of the code are taken again, or the payment
 * is refunded.
 */
function applyPaid(state: State, order: Order): void {
  const payment = paymentOf(order);
  if (!payment || payment.status === 'succeeded' || payment.status === 'refunded') return;
  payment.status = 'succeeded';
  payment.debit = false;
  payment.captured = order.total;
  order.history.push('payment.succeeded');
  const hasUse = order.use !== 'returned' || state.uses < mostUses;
  const again = order.status === 'failed' && order.hold === 'released' && hasUse && take(state, order);
  if (again) order.history.push('inventory.reserved');
  if (again && order.use === 'returned') {
    order.use = 'taken';
    state.uses++;
  }
  if (!again && order.status !== 'created') {
    returnRest(state, order, payment);
    return;
  }
  sell(state, order);
  Object.assign(order, { status: 'confirmed', reason: null });
  order.history.push('order.confirmed');
  if (order.addressed) state.todo.push(`label ${order.name}`);
}

function applyRefunded(state: State, order: Order, cents: number, automatic: boolean, made: boolean): void {
  const payment = paymentOf(order);
  if (!payment) return;
  const known = payment.refunds.find(
    (one) => one.cents === cents && one.automatic === automatic && one.status === 'pending',
  );
  if (known && !made) known.status = 'succeeded';
  else payment.refunds.push({ cents, automatic, status: 'succeeded' });
  count(payment);
  order.history.push('payment.refunded');
  if (payment.refunded < payment.captured) return;
  payment.status = 'refunded';
  if (!['confirmed', 'shipped', 'delivered'].includes(order.status)) return;
  order.status = 'refunded';
  order.history.push('order.refunded');
  if (!endShipment(order)) returnUnits(state, order);
}

/** The rules of orders and stock from the contract. */
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
    // Step 1 opens the payment, step 2 creates the intent and reads it, step 3 confirms it at Stripe with the card.
    const paying = `paying ${order.name} ${command.do}`;
    if (n === 0) {
      if (!openPayment(order)) return '409 order_not_payable';
      state.todo.push(`${paying} ${order.payments.length - 1} -`);
      return '201';
    }
    const at = state.todo.findIndex((task) => task.startsWith(paying));
    if (at < 0) return '';
    const which = state.todo[at]?.split(' ')[3];
    const payment = order.payments[Number(which)];
    if (n === 1) {
      makeIntent(payment);
      state.todo[at] = `${paying} ${which} ${payment?.status === 'pending'}`;
      return '';
    }
    const [task = ''] = state.todo.splice(at, 1);
    return task.endsWith(' true') ? confirm(state, order, payment, command.do) : 'refused';
  },

  tasks: (state) => [...new Set(state.todo.filter((task) => !task.startsWith('paying')))],

  act(state, task) {
    state.todo.splice(state.todo.indexOf(task), 1);
    const [verb, name = '', which, by] = task.split(' ');
    const order = orderOf(state, name);
    const payment = paymentOf(order);
    if (verb === 'open') {
      if (openPayment(order)) makeIntent(paymentOf(order));
    } else if (verb === 'paid') applyPaid(state, order);
    else if (verb === 'deciding' || verb === 'undone') applyDebit(order);
    else if (verb === 'canceled') applyCanceled(order, order.payments[Number(which)]);
    else if (verb === 'returned') applyRefunded(state, order, Number(which), false, true);
    else if (verb === 'refund') applyRefunded(state, order, Number(which), by === 'automatic', false);
    else if (verb === 'bounced') applyBounced(state, order, Number(which), by === 'automatic');
    else if (verb === 'label' && order.status === 'confirmed') {
      order.shipment = 'created';
      order.history.push('shipping.label.created');
    } else if (verb === 'close' && payment) {
      // Stripe rejects the cancellation of a paid intent, and sends a webhook.
      if (payment.atStripe !== 'paid') payment.atStripe = 'closed';
    }
  },
};
