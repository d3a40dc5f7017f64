import { type Check, groupBy } from '../finding.ts';

const ended = new Set(['expired', 'failed']);
const prefix = 'group-commerce.campaign';

const places: Check = {
  name: "a campaign's places are those of its participants",
  run(books, find) {
    const byCampaign = groupBy(books.participants, (row) => row.campaign);
    const byKey = groupBy(books.events, (event) => event.key);
    for (const campaign of books.campaigns) {
      const rows = byCampaign.get(campaign.id) ?? [];
      const alive = rows.filter((row) => row.state !== 'released');
      const events = byKey.get(campaign.id) ?? [];
      const told = (fact: string) => events.filter((event) => event.topic === `${prefix}.${fact}`);
      if (campaign.actual > campaign.max) find(campaign.id, `${campaign.actual} places of ${campaign.max} are taken`);
      if (told('joined').length !== rows.length) {
        find(campaign.id, `${rows.length} places were taken, ${told('joined').length} events say so`);
      }
      const left = rows.filter((row) => row.state === 'released' && !row.reason?.startsWith('campaign_'));
      if (told('left').length !== left.length) {
        find(campaign.id, `${left.length} places were given back, ${told('left').length} events say so`);
      }
      if (campaign.actual !== rows.length - left.length) {
        find(campaign.id, `it counts ${campaign.actual} places; ${rows.length} were taken, ${left.length} given back`);
      }
      if (ended.has(campaign.status) && alive.length > 0) {
        find(campaign.id, `it is ${campaign.status}, and ${alive.length} places are not released`);
      }
      const [success] = told('successful');
      const counting = campaign.successOn === 'joined' ? 'actualParticipants' : 'securedParticipants';
      if (success && Number(success.payload[counting]) < campaign.min) {
        find(campaign.id, `it succeeded with ${String(success.payload[counting])} of ${campaign.min}`);
      }
      for (const [user, seats] of groupBy(alive, (row) => row.user)) {
        if (seats.length > 1) find(campaign.id, `${user} has ${seats.length} places`);
      }
    }
  },
};

const orders: Check = {
  name: 'a place that is charged has its order, one that is released keeps nothing',
  run(books, find) {
    const byId = new Map(books.orders.map((order) => [order.id, order]));
    const holds = new Map(books.reservations.map((row) => [row.order, row.status]));
    // Its unit may be in a parcel that is packed already.
    const labelled = new Set(books.shipments.map((row) => row.order));
    for (const { order: id, state } of books.participants) {
      const order = byId.get(id);
      // A refunded order keeps its place if its unit was sent.
      const sold =
        order !== undefined &&
        (['confirmed', 'shipped', 'delivered'].includes(order.status) ||
          (order.status === 'refunded' && holds.get(id) === 'committed'));
      if (state === 'charged' && !sold) find(id, `the place is charged, its order ${order?.status ?? 'not there'}`);
      if (state === 'released' && sold) find(id, `the place was released, its order is ${order.status}`);
      const kept = labelled.has(id) ? ['held'] : ['held', 'committed'];
      if (state === 'released' && kept.includes(holds.get(id) ?? '')) {
        find(id, `the place was released, its unit is ${holds.get(id)}`);
      }
    }
  },
};

export const campaignChecks: Check[] = [places, orders];
