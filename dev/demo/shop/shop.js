// A shop in one page, without a server. This file does what the shopper asks for; view.js shows the result.
import { call, confirmPayment, forgetCart, saveCart, savedCart, sleep } from './api.js';
import { byId, explain, fillFields, say, showCart, showMessages, showOrder, showProducts } from './view.js';

/** The cart as the API has sent it last. Every amount, offer and message in it was computed for that response. */
let cart = null;
let showsMissing = false;

const show = () =>
  showCart(cart, {
    showsMissing,
    setQuantity: (sku, quantity) => run(() => setQuantity(sku, quantity)),
    choose: (shippingOptionId) => run(() => change({ shippingOptionId })),
  });

let last = Promise.resolve();

/** Runs what the shopper asks for, one thing after another, and explains its error. */
function run(action) {
  last = last.then(() => action(say({}))).catch(handle);
  return last;
}

async function handle(problem) {
  if (problem.cart) cart = problem.cart; // price_changed brings the new cart
  if (problem.code === 'not_found') endCart();
  const isOutdated = ['cart_not_open', 'insufficient_inventory', 'order_not_payable'].includes(problem.code);
  if (isOutdated) await load().catch(() => undefined);
  show();
  say({ alert: explain(problem, cart) });
  const messages = problem.messages ?? problem.errors;
  if (messages) showMessages(messages);
  byId('alert').focus();
}

/** Reads this browser's cart. Of a cart that was paid it shows the order. */
async function load() {
  const { id } = savedCart();
  cart = id ? await call('GET', `/v1/carts/${id}`) : null;
  if (cart?.status === 'completed') showOrder(await call('GET', `/v1/orders/${cart.orderId}`));
  else if (cart && !['open', 'ordered'].includes(cart.status)) throw { code: 'not_found' }; // cancelled or expired
}

async function setQuantity(sku, quantity) {
  if (cart?.status === 'completed') endCart();
  if (cart === null) {
    cart = await call('POST', '/v1/carts', { source: { channel: 'web' } });
    saveCart(cart); // only this response has the token
  }
  cart = await call('PUT', `/v1/carts/${cart.id}/items/${encodeURIComponent(sku)}`, { quantity });
  show();
}

async function change(changes) {
  cart = await call('PATCH', `/v1/carts/${cart.id}`, changes);
  show();
}

function endCart() {
  forgetCart();
  cart = null;
  showsMissing = false;
}

/** Makes the order with the total that the shopper has seen, or continues with the order that was made before. */
async function orderAndPay() {
  showsMissing = true;
  let payment;
  if (cart.status === 'open') {
    const { id, totals } = cart;
    // While the total is not known, the response says what is missing.
    const expectedTotal = totals.total ?? totals.subtotal;
    ({ payment } = await call('POST', `/v1/carts/${id}/checkout`, { expectedTotal }));
    await load();
    show();
  } else payment = await call('POST', '/v1/payments', { orderId: cart.orderId });
  if (payment) await confirmPayment(payment, byId('card').value); // null: there is nothing to pay
  say({ status: 'Your payment is being checked.' });
  await waitForOrder(cart.orderId);
}

/** Waits until Stripe has told the API of the payment, which confirms the order. */
async function waitForOrder(orderId) {
  for (let second = 0; second < 60; second++) {
    const { status } = await call('GET', `/v1/orders/${orderId}`);
    if (status !== 'created') break;
    await sleep(1);
  }
  await load();
  show();
  if (cart.status === 'ordered')
    say({ status: 'We do not know yet whether your payment succeeded. Please reload this page later.' });
  else if (cart.status === 'open') say({ alert: 'The order has ended. If you were charged, the money is refunded.' });
  else {
    say({ status: 'Your order is confirmed.' });
    byId('done-title').focus();
  }
}

/** The fields of a form, without the empty ones. Their names are JSON pointers into the cart. */
function fieldsOf(form) {
  const filled = [...new FormData(form)].filter(([, value]) => value.trim() !== '');
  return Object.fromEntries(filled.map(([pointer, value]) => [pointer.split('/').pop(), value.trim()]));
}

const actions = {
  details(form) {
    const { email = null, ...shippingAddress } = fieldsOf(form);
    return change({ email, shippingAddress });
  },
  discount: (form) => change({ discountCodes: fieldsOf(form).discountCodes?.split(/\s+/) ?? [] }),
  payment: orderAndPay,
};
for (const [id, action] of Object.entries(actions)) {
  byId(id).onsubmit = (event) => {
    event.preventDefault();
    run(() => action(event.target));
  };
}
byId('reopen').onclick = () =>
  run(async () => {
    cart = await call('POST', `/v1/carts/${cart.id}/reopen`);
    show();
  });
byId('again').onclick = () =>
  run(async () => {
    endCart();
    show();
  });
// Another window of this shop has made a cart, or has ended this one.
addEventListener('storage', () => run(load).then(show));

run(async () => {
  const { name } = await call('GET', '/v1/storefront');
  byId('name').textContent = document.title = name;
  const { data } = await call('GET', '/v1/products?sort=name&limit=50');
  showProducts(data, (sku, productName) =>
    run(async () => {
      const line = cart?.status === 'open' && cart.items.find((item) => item.sku === sku);
      await setQuantity(sku, (line?.quantity ?? 0) + 1);
      say({ status: `In your cart: ${productName}.` });
    }),
  );
  await load();
  if (cart) fillFields(cart);
  show();
});
