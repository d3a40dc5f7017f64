// What the shopper sees. Nothing here calls the API.

export const byId = (id) => document.getElementById(id);

const money = (amount, currency) => new Intl.NumberFormat('en', { style: 'currency', currency }).format(amount);

/** Makes an element. Texts become text nodes, so a product's name can contain no markup. */
function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function say({ alert = '', status = '' }) {
  byId('alert').textContent = alert;
  byId('status').textContent = status;
}

/** Shows each message beside its field, or beside the nearest thing that contains the field. */
export function showMessages(messages) {
  const places = [...document.querySelectorAll('.problem')];
  for (const place of places) place.textContent = '';
  for (const field of document.querySelectorAll('[name^="/"]')) field.removeAttribute('aria-invalid');
  for (const { pointer, detail, type } of messages) {
    const contains = ({ dataset }) => `${pointer}/`.startsWith(`${dataset.for}/`);
    const [place] = places.filter(contains).sort((a, b) => b.dataset.for.length - a.dataset.for.length);
    if (!place) {
      byId('alert').append(` ${pointer}: ${detail}`);
      continue;
    }
    place.append(type === 'info' ? element('span', { className: 'info' }, detail) : detail, ' ');
    place.id = `problem-of-${place.dataset.for}`;
    for (const field of document.getElementsByName(place.dataset.for)) {
      field.setAttribute('aria-describedby', place.id);
      if (type !== 'info' && field.type !== 'radio') field.setAttribute('aria-invalid', 'true');
    }
  }
}

/** Shows names and amounts. A null amount is not known yet; an undefined amount is not shown. */
function showAmounts(list, currency, rows) {
  const shown = rows.filter(([, amount]) => amount !== undefined);
  const cells = shown.flatMap(([name, amount]) => [
    element('dt', {}, name),
    element('dd', {}, amount === null ? 'not known yet' : money(amount, currency)),
  ]);
  list.replaceChildren(...cells);
}

const reduction = (amount) => (amount > 0 ? -amount : undefined);
const taxRows = (taxLines, isIncluded) =>
  (taxLines ?? []).map(({ name, rate, amount }) => [`${isIncluded ? 'of which ' : ''}${name}, ${rate} %`, amount]);

export function showProducts(products, add) {
  const row = ({ sku, name, price, currency }) => {
    const ariaLabel = `Add to cart: ${name}`;
    const button = element('button', { type: 'button', ariaLabel, onclick: () => add(sku, name) }, 'Add to cart');
    return element('li', {}, element('span', {}, name), element('span', {}, money(price, currency)), button);
  };
  byId('products').replaceChildren(...products.map(row));
}

function cartLine({ sku, name, quantity, total, subtotal }, index, { status, currency }, setQuantity) {
  const disabled = status !== 'open';
  const field = element('input', { id: `quantity-${sku}`, type: 'number', min: 0, value: quantity, disabled });
  field.ariaLabel = `Quantity: ${name ?? sku}`;
  field.onchange = () => setQuantity(sku, Number(field.value));
  const remove = element('button', { id: `remove-${sku}`, type: 'button', disabled }, 'Remove');
  remove.ariaLabel = `Remove: ${name ?? sku}`;
  remove.onclick = () => setQuantity(sku, 0);
  const problem = element('span', { className: 'problem' });
  problem.dataset.for = `/items/${index}`;
  const amount = total ?? subtotal;
  const price = amount === null ? '' : money(amount, currency);
  return element('li', {}, element('span', {}, name ?? sku), field, element('span', {}, price), remove, problem);
}

function shippingOption({ id, name, price, minDays, maxDays }, { currency, shippingOptionId }, choose) {
  const days = minDays === null ? '' : `, ${minDays} to ${maxDays} days`;
  const input = element('input', { id, type: 'radio', name: '/shippingOptionId', checked: id === shippingOptionId });
  input.onchange = () => choose(id);
  return element('label', {}, input, `${name}: ${money(price, currency)}${days}`);
}

const noCart = { status: 'open', items: [], shippingOptions: [], totals: {}, messages: [] };

/** Shows the cart (null: there is none) and keeps the keyboard's place in it. */
export function showCart(cart, { showsMissing, setQuantity, choose }) {
  const focused = document.activeElement?.id;
  const { status, items, shippingOptions, totals, currency, messages, ...more } = cart ?? noCart;
  const isOpen = status === 'open';
  const isEmpty = items.length === 0;
  byId('lines').replaceChildren(...items.map((item, index) => cartLine(item, index, cart, setQuantity)));
  byId('options').replaceChildren(...shippingOptions.map((option) => shippingOption(option, cart, choose)));
  const { subtotal, shipping, total } = totals;
  const rows = [
    ['Subtotal', subtotal],
    ['Discount', reduction(totals.discount)],
    ['Shipping', shipping],
    ['Total', total],
    ...taxRows(more.taxLines, more.taxIncluded),
  ];
  showAmounts(byId('totals'), currency, isEmpty ? [] : rows);
  byId('empty').hidden = !isEmpty;
  byId('cart-section').hidden = status === 'completed';
  byId('done').hidden = status !== 'completed';
  byId('details').hidden = byId('discount').hidden = !isOpen || isEmpty;
  byId('shipping').hidden = !isOpen || shippingOptions.length === 0;
  byId('payment').hidden = isEmpty || !['open', 'ordered'].includes(status);
  byId('reopen').hidden = isOpen;
  byId('pay').textContent = `${isOpen ? 'Order and pay' : 'Pay'} ${total > 0 ? money(total, currency) : ''}`;
  showMessages(messages.filter(({ code }) => showsMissing || code !== 'missing'));
  const target = focused && byId(focused);
  if (focused) (target?.checkVisibility() && !target.disabled ? target : byId('cart-title')).focus();
}

/** Writes the cart's values into the fields. Only when the page opens, so that it overwrites nothing typed. */
export function fillFields({ email, discountCodes, shippingAddress }) {
  const address = Object.entries(shippingAddress ?? {}).map(([name, value]) => [`/shippingAddress/${name}`, value]);
  for (const [name, value] of [['/email', email], ['/discountCodes', discountCodes.join(' ')], ...address]) {
    const [field] = document.getElementsByName(name);
    if (field && value) field.value = value;
  }
}

export function showOrder({ number, status, items, currency, ...order }) {
  byId('number').textContent = number;
  byId('order-status').textContent = status;
  const row = ({ name, sku, quantity, total }) =>
    element('li', {}, element('span', {}, `${quantity} × ${name ?? sku}`), element('span', {}, money(total, currency)));
  byId('order-lines').replaceChildren(...items.map(row));
  showAmounts(byId('order-totals'), currency, [
    ['Subtotal', order.subtotal],
    ['Discount', reduction(order.discountTotal)],
    ['Shipping', order.shippingTotal],
    ['Total', order.total],
    ...taxRows(order.taxLines, order.taxIncluded),
  ]);
}

/** What an error means to the shopper. `cart` is the cart as it is now. */
export function explain({ code, detail, shortages = [], errors = [], messages = [] }, cart) {
  const nameOf = (sku) => cart?.items.find((item) => item.sku === sku)?.name ?? sku;
  switch (code) {
    case 'price_changed':
      return `The total has changed to ${money(cart.totals.total, cart.currency)}. Please check it, then order again.`;
    case 'insufficient_inventory':
      return shortages.map(({ sku, available }) => `Only ${available} of ${nameOf(sku)} can be sold now.`).join(' ');
    case 'cart_not_open':
      return 'This cart was already ordered, perhaps in another window. The page now shows its current state.';
    case 'order_not_payable':
      return 'This order can no longer be paid. The page now shows your current cart.';
    case 'not_found':
      return 'This cart has ended. Please start a new one.';
    case 'unreachable':
      return 'The shop cannot be reached. Please try again.';
  }
  if (errors.length + messages.length > 0) return 'Please check the marked fields.';
  return detail ?? 'Something went wrong. Please reload this page.';
}
