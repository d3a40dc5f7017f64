import { type Check, cents, dollars, groupBy, sum } from '../finding.ts';
import type { CampaignRow, Tier } from '../group-books.ts';

const isOpen = ({ status }: CampaignRow) => status === 'active' || status === 'successful';

const counts: Check = {
  name: "a pool's counts match its places and its waiting list, and no place is free while somebody waits",
  run(books, report) {
    const places = groupBy(books.participants, ({ campaign }) => campaign);
    const waiting = groupBy(books.waiting, ({ campaign }) => campaign);
    for (const campaign of books.campaigns.filter(({ mode }) => mode === 'pool')) {
      const entries = waiting.get(campaign.id) ?? [];
      const count = (state: string) => entries.filter((entry) => entry.state === state).length;
      for (const [user, same] of groupBy(entries.filter(isOpenEntry), (entry) => entry.user)) {
        if (same.length > 1) report(campaign.id, `${user} waits ${same.length} times`);
      }
      if (!isOpen(campaign)) {
        // Its counts stay as they were at its end.
        const left = count('waiting') + count('offered');
        if (campaign.settled && left > 0) report(campaign.id, `it is ${campaign.status}, but ${left} users wait`);
        continue;
      }
      const live = (places.get(campaign.id) ?? []).filter(({ state }) => state !== 'released');
      const secured = live.filter((place) => place.secured);
      const units = sum(secured, ({ quantity }) => quantity);
      const expected = { actual: live.length, secured: secured.length, securedUnits: units, offered: count('offered') };
      for (const [name, value] of Object.entries(expected)) {
        const counted = campaign[name as keyof typeof expected];
        if (counted !== value)
          report(campaign.id, `its count "${name}" is ${counted}, but its rows add up to ${value}`);
      }
      const free = campaign.max - campaign.actual - campaign.offered;
      if (free < 0) report(campaign.id, `${-free} places more than its maximum are taken or offered`);
      const takesPlaces = campaign.end.getTime() > books.clock;
      if (takesPlaces && free > 0 && count('waiting') > 0)
        report(campaign.id, `${free} places are free, but ${count('waiting')} users wait`);
    }
  },
};

const isOpenEntry = ({ state }: { state: string }) => state === 'waiting' || state === 'offered';

/** The price of the last tier that is reached with these places and units, or the entry price. */
function tierPrice(tiers: readonly Tier[], entry: number, participants: number, units: number): number {
  const reached = tiers.filter((tier) =>
    tier.participants === undefined ? (tier.units ?? 0) <= units : tier.participants <= participants,
  );
  return reached.at(-1)?.price ?? entry;
}

const prices: Check = {
  name: 'the price of a campaign with tiers is fixed once, and every order of it has that price',
  run(books, report) {
    const priced = groupBy(
      books.events.filter(({ topic }) => topic === 'group-commerce.campaign.priced'),
      ({ key }) => key,
    );
    const orders = groupBy(books.orders, ({ campaign }) => campaign ?? '');
    for (const { id, tiers, price, settledPrice } of books.campaigns) {
      const [event, ...more] = priced.get(id) ?? [];
      if (more.length > 0) report(id, `its price was fixed ${more.length + 1} times`);
      if (tiers === null) continue;
      if ((settledPrice === null) !== (event === undefined))
        report(id, `its settled price is ${settledPrice}, but there is ${event ? 'an' : 'no'} event for it`);
      const { securedParticipants, securedUnits } = event?.payload ?? {};
      if (settledPrice !== null && event) {
        const reached = tierPrice(tiers, Number(price), Number(securedParticipants), Number(securedUnits));
        if (cents(settledPrice) !== cents(reached))
          report(id, `its price is ${settledPrice}, but ${dollars(cents(reached))} was reached when it was fixed`);
      }
      for (const { id: order, items } of orders.get(id) ?? []) {
        const wrong = items.find((line) => cents(line.price) !== cents(settledPrice ?? price));
        if (wrong) report(order, `its price is ${wrong.price}, but that of its campaign is ${settledPrice}`);
      }
    }
  },
};

const taxes: Check = {
  name: 'the taxes of a place follow from its price and the rates that it froze',
  run(books, report) {
    const places = new Set(books.participants.map(({ order }) => order));
    for (const { order, subtotal, shipping, taxLines } of books.amounts) {
      if (!places.has(order) || subtotal === null) continue;
      const price = cents(subtotal) + cents(shipping ?? 0);
      for (const { rate, taxable, amount } of taxLines ?? []) {
        if (cents(taxable) !== price) report(order, `${taxable} of it are taxed, but it costs ${dollars(price)}`);
        if (Math.abs((price * rate) / 100 - cents(amount)) > 1)
          report(order, `its tax is ${amount}, but it costs ${dollars(price)} at a rate of ${rate} %`);
      }
    }
  },
};

const units: Check = {
  name: 'a place holds its quantity of its SKU',
  run(books, report) {
    const holds = new Map(books.reservations.map((row) => [row.order, row]));
    for (const { order, state, sku, quantity } of books.participants) {
      if (state === 'released') continue;
      const hold = holds.get(order);
      const held = hold?.skus.map((name, index) => `${hold.quantities[index]} ${name}`).join(', ') ?? 'nothing';
      if (held !== `${quantity} ${sku}`) report(order, `the place is for ${quantity} ${sku}, but it holds ${held}`);
    }
  },
};

const money: Check = {
  name: 'a place has one payment, captured at most as authorized, and a released place holds no money',
  run(books, report) {
    const payments = groupBy(books.payments, ({ order }) => order);
    const intents = groupBy(books.intents, ({ order }) => order);
    for (const { order, state, payment } of books.participants) {
      const rows = payments.get(order) ?? [];
      if (rows.length !== Number(payment !== null)) report(order, `the place has ${rows.length} payments`);
      const atStripe = intents.get(order) ?? [];
      for (const { id, captured, amount } of atStripe) {
        if (captured > amount)
          report(order, `${id} captured ${dollars(captured)}, but only ${dollars(amount)} was authorized`);
      }
      for (const { amount, authorized } of rows) {
        if (authorized !== null && cents(amount) > cents(authorized))
          report(order, `its payment is for ${amount}, but only ${authorized} was authorized`);
      }
      const held = atStripe.filter(({ status }) => status === 'requires_capture');
      if (state === 'released' && held.length > 0)
        report(order, `the place is released, but ${held[0]?.id} holds money`);
    }
  },
};

export const poolChecks: Check[] = [counts, prices, units, money];

/** Only for tenants that tax shipping too, and whose prices have no tax in them. */
export const placeTaxChecks: Check[] = [taxes];
