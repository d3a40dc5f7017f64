import { type Check, cents, groupBy } from '../finding.ts';
import { wasLeft } from './teams.ts';

const ended = new Set(['expired', 'failed']);
const prefix = 'group-commerce.campaign';

const counts: Check = {
  name: "a campaign's counts match its participants",
  run(books, report) {
    const byCampaign = groupBy(books.participants, (row) => row.campaign);
    const byKey = groupBy(books.events, (event) => event.key);
    for (const campaign of books.campaigns.filter(({ mode }) => mode === 'pool')) {
      const rows = byCampaign.get(campaign.id) ?? [];
      const active = rows.filter((row) => row.state !== 'released');
      const events = byKey.get(campaign.id) ?? [];
      const eventsOf = (fact: string) => events.filter((event) => event.topic === `${prefix}.${fact}`);
      if (campaign.actual > campaign.max)
        report(campaign.id, `${campaign.actual} places are taken, but the maximum is ${campaign.max}`);
      if (eventsOf('joined').length !== rows.length) {
        report(
          campaign.id,
          `${rows.length} places were taken, but there are ${eventsOf('joined').length} events for it`,
        );
      }
      const left = rows.filter(wasLeft);
      if (eventsOf('left').length !== left.length) {
        report(campaign.id, `${left.length} places were left, but there are ${eventsOf('left').length} events for it`);
      }
      if (campaign.actual !== rows.length - left.length) {
        report(
          campaign.id,
          `it counts ${campaign.actual} places, but ${rows.length} were taken and ${left.length} left`,
        );
      }
      if (ended.has(campaign.status) && active.length > 0) {
        report(campaign.id, `it is ${campaign.status}, but ${active.length} places are not released`);
      }
      const [success] = eventsOf('successful');
      const countField = campaign.successOn === 'joined' ? 'actualParticipants' : 'securedParticipants';
      if (success && Number(success.payload[countField]) < campaign.min) {
        report(
          campaign.id,
          `it succeeded with ${String(success.payload[countField])} places, but the minimum is ${campaign.min}`,
        );
      }
      for (const [user, userPlaces] of groupBy(active, (row) => row.user)) {
        if (userPlaces.length > 1) report(campaign.id, `${user} has ${userPlaces.length} places`);
      }
    }
  },
};

const orders: Check = {
  name: 'a charged place has a paid order, and a released place has neither an order nor stock',
  run(books, report) {
    const byId = new Map(books.orders.map((order) => [order.id, order]));
    const holds = new Map(books.reservations.map((row) => [row.order, row.status]));
    // After the label was made, the unit of a released place may be in a packed parcel.
    const labelled = new Set(books.shipments.map((row) => row.order));
    for (const { order: id, state } of books.participants) {
      const order = byId.get(id);
      // A refunded order keeps its place if its unit was sent.
      const sold =
        order !== undefined &&
        (['confirmed', 'shipped', 'delivered'].includes(order.status) ||
          (order.status === 'refunded' && holds.get(id) === 'committed'));
      if (state === 'charged' && !sold)
        report(id, `the place is charged, but its order is ${order?.status ?? 'missing'}`);
      if (state === 'released' && sold) report(id, `the place was released, but its order is ${order.status}`);
      const forbidden = labelled.has(id) ? ['held'] : ['held', 'committed'];
      if (state === 'released' && forbidden.includes(holds.get(id) ?? '')) {
        report(id, `the place was released, but its unit is ${holds.get(id)}`);
      }
    }
  },
};

const amounts: Check = {
  name: 'a place, its payment and its order have the same amount',
  run(books, report) {
    const payments = groupBy(books.payments, (payment) => payment.order);
    const byId = new Map(books.orders.map((order) => [order.id, order]));
    for (const { order: id, payment, total } of books.participants) {
      const order = byId.get(id);
      if (order !== undefined && cents(order.total) !== cents(total))
        report(id, `the place costs ${total}, but the total of its order is ${order.total}`);
      for (const { amount } of payments.get(id) ?? []) {
        if (cents(amount) !== cents(total)) report(id, `the place costs ${total}, but its payment is for ${amount}`);
      }
      if ((payment === null) !== (cents(total) === 0))
        report(id, `the place costs ${total}, but it has ${payment === null ? 'no' : 'a'} payment`);
    }
  },
};

export const campaignChecks: Check[] = [counts, orders, amounts];
