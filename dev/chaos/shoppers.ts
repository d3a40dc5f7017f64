import { type ClientResponse, member, textOf } from './journal.ts';
import { createLines, shippingAddress } from './orders.ts';
import { changePurchase } from './purchases.ts';
import { confirmAtStripe, decideDebit, retryUntil, type Story } from './shop.ts';
import { emailOf, optionOf, pickCodes } from './terms.ts';

/** A cart in the browser of a shopper. `headers`: the shopper's credentials. */
type Cart = { id: string; headers: Record<string, string> };
type Ordered = { id: string; secret: string; paymentId: string };

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Registers a customer and logs it in, as the server of a merchant does. The credentials of its browser. */
async function logIn(story: Story): Promise<Record<string, string>> {
  const body = { email: `${story.name}@example.com`, name: shippingAddress.name };
  const key = story.unique('customer');
  const customer = await story.request('customers.create', 'POST', '/v1/customers', { key, body });
  // Without a key: a repetition would not show the token.
  const session = await story.request('sessions.create', 'POST', '/v1/customer-sessions', {
    body: { customerId: textOf(customer?.body, 'id') },
  });
  return bearer(textOf(session?.body, 'token'));
}

async function openCart(story: Story): Promise<Cart | undefined> {
  const { random, tenant } = story;
  const isGuest = random.chance(0.7);
  const credentials = isGuest ? bearer(`pk_dev_${tenant}`) : await logIn(story);
  const created = await story.request('carts.create', 'POST', '/v1/carts', {
    headers: credentials,
    body: {
      currency: 'USD',
      ...(random.chance(0.8) ? { items: linesOf(story) } : {}),
      ...(random.chance(0.7) ? { email: emailOf(story) } : {}),
      source: { channel: 'web', id: story.name },
    },
  });
  if (created?.status !== 201) return undefined;
  const token = textOf(created.body, 'token');
  return { id: textOf(created.body, 'id'), headers: { ...credentials, ...(isGuest ? { 'cart-token': token } : {}) } };
}

const linesOf = (story: Story) => createLines(story).slice(0, story.random.int(1, 12));

const send = (story: Story, cart: Cart, operation: string, method: string, path: string, body?: object) =>
  story.request(`carts.${operation}`, method, `/v1/carts/${cart.id}${path}`, {
    headers: cart.headers,
    ...(body === undefined ? {} : { body }),
    ...(method === 'POST' ? { key: story.unique(operation) } : {}),
  });

const read = (story: Story, cart: Cart) => send(story, cart, 'read', 'GET', '');
const patch = (story: Story, cart: Cart, change: object) => send(story, cart, 'change', 'PATCH', '', change);

async function change(story: Story, cart: Cart): Promise<void> {
  const { random } = story;
  const [line] = createLines(story);
  const item = `/items/${line?.sku}`;
  const kind = random.pickWeighted({ items: 15, item: 25, remove: 10, codes: 30, address: 10, read: 10 });
  if (kind === 'items') await patch(story, cart, { items: linesOf(story) });
  if (kind === 'item') await send(story, cart, 'change', 'PUT', item, { quantity: random.int(0, 4) });
  if (kind === 'remove') await send(story, cart, 'change', 'DELETE', item);
  if (kind === 'codes') await patch(story, cart, { discountCodes: pickCodes(story) });
  if (kind === 'address') await patch(story, cart, { shippingAddress, phone: '+351 1' });
  if (kind === 'read') await read(story, cart);
}

/** Fills in all that a checkout needs. */
const complete = (story: Story, cart: Cart, items: unknown) =>
  patch(story, cart, {
    email: emailOf(story),
    shippingAddress,
    ...optionOf(story.shop, story.tenant),
    ...(story.random.chance(0.6) ? { discountCodes: pickCodes(story) } : {}),
    ...(Array.isArray(items) && items.length > 0 ? {} : { items: linesOf(story) }),
  });

const totalOf = (cart: unknown): number => Number(member(member(cart, 'totals'), 'total') ?? 0);

/** Checks out: once, from two tabs, or with a total that nobody was shown. Corrects the cart, and tries again. */
async function checkOut(story: Story, cart: Cart): Promise<Ordered | undefined> {
  const { random } = story;
  let shown = (await read(story, cart))?.body;
  let difference = random.chance(0.12) ? 0.01 : 0;
  for (let attempt = 0; attempt < 4 && !story.shop.closing; attempt++) {
    const body = { expectedTotal: Math.round((totalOf(shown) + difference) * 100) / 100 };
    difference = 0;
    const checkout = () => send(story, cart, 'checkout', 'POST', '/checkout', body);
    const tabs = [checkout(), ...(random.chance(0.35) ? [checkout()] : [])];
    if (random.chance(0.1)) tabs.push(patch(story, cart, { discountCodes: pickCodes(story) }));
    const responses = await Promise.all(tabs);
    const made = responses.find((response) => response?.status === 201 && member(response.body, 'order'));
    if (made) return orderedOf(made);
    const [first] = responses;
    const code = textOf(first?.body, 'code');
    if (code === 'price_changed') shown = member(first?.body, 'cart');
    else if (code === 'cart_incomplete') shown = (await complete(story, cart, member(shown, 'items')))?.body;
    else if (code === 'insufficient_inventory') shown = (await patch(story, cart, { items: linesOf(story) }))?.body;
    else return undefined;
  }
  return undefined;
}

function orderedOf({ body }: ClientResponse): Ordered {
  const payment = member(body, 'payment');
  return {
    id: textOf(member(body, 'order'), 'id'),
    paymentId: textOf(payment, 'id'),
    secret: textOf(payment, 'clientSecret'),
  };
}

/** Waits until the hold of the order has ended: its money then arrives late. */
async function waitForExpiry(story: Story, orderId: string): Promise<void> {
  await retryUntil(story, 45, async () => {
    await story.pause(300, 600);
    return textOf((await readOrder(story, orderId))?.body, 'status') !== 'created';
  });
}

const readOrder = (story: Story, orderId: string, headers: Record<string, string> = {}) =>
  story.request('orders.read', 'GET', `/v1/orders/${orderId}`, { headers });

/** Pays the order of a cart, or leaves, reopens or cancels it. Resolves with whether the shopper tried to pay. */
async function decide(story: Story, cart: Cart, order: Ordered): Promise<boolean> {
  const { random } = story;
  const reopen = () => send(story, cart, 'reopen', 'POST', '/reopen');
  const pay = () => confirmAtStripe(story, order.secret);
  const plan = random.pickWeighted({ pay: 56, leave: 8, reopen: 12, cancel: 6, payAndReopen: 8, payLate: 6, end: 4 });
  if (random.chance(0.3)) await readOrder(story, order.id, cart.headers);
  if (plan === 'leave' || order.secret === '') return false;
  if (plan === 'reopen') await reopen();
  if (plan === 'end') await send(story, cart, 'cancel', 'POST', '/cancel');
  if (plan === 'cancel') {
    const key = story.unique('cancel');
    await story.request('orders.cancel', 'POST', `/v1/orders/${order.id}/cancel`, { key, body: {} });
  }
  if (plan === 'payAndReopen') await Promise.all([pay(), reopen()]);
  if (plan === 'payLate') {
    // Just before the hold ends, or while the order is being ended.
    for (const end = Date.now() + random.int(22_000, 25_500); Date.now() < end && !story.shop.closing; )
      await story.pause(200, 400);
    await Promise.all([pay(), random.chance(0.5) && waitForExpiry(story, order.id)]);
  }
  if (plan !== 'pay') return plan === 'payLate';
  if ((await pay()) === 'processing') await decideDebit(story, order.secret);
  if (random.chance(0.35)) await confirmAtStripe(story, order.secret, 'pm_card_visa');
  return true;
}

/**
 * A shopper fills a cart in the browser and orders it: with two tabs, changes, cancellations and refunds.
 */
export async function shopInBrowser(story: Story): Promise<void> {
  const { random } = story;
  const cart = await openCart(story);
  if (!cart) return;
  if (random.chance(0.25)) await readAsAnother(story, cart);
  for (let steps = random.int(0, 4); steps > 0 && !story.shop.closing; steps--) {
    await Promise.all([change(story, cart), random.chance(0.1) && change(story, cart)]);
  }
  if (random.chance(0.1)) return;
  for (let orders = 0; orders < 3 && !story.shop.closing; orders++) {
    const order = await checkOut(story, cart);
    if (!order) break;
    const tried = await decide(story, cart, order);
    if (tried && (await isPaid(story, order))) {
      await changePurchase(story, order);
      break;
    }
    if (random.chance(0.3)) break;
    if (random.chance(0.4)) await change(story, cart);
  }
  if (random.chance(0.4)) await read(story, cart);
  if (random.chance(0.15)) await send(story, cart, 'cancel', 'POST', '/cancel');
}

/** Tries to read a cart with another token. */
const readAsAnother = (story: Story, { id }: Cart) => {
  const headers = { ...bearer(`pk_dev_${story.tenant}`), 'cart-token': `ct_${story.name}` };
  return story.request('carts.read of another shopper', 'GET', `/v1/carts/${id}`, { headers });
};

const isPaid = (story: Story, order: Ordered) =>
  retryUntil(story, 6, async () => textOf((await readOrder(story, order.id))?.body, 'status') === 'confirmed');
