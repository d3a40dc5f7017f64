import type { Account, Route } from './account.ts';
import { listPage } from './lists.ts';
import type { StoredEvent } from './store.ts';
import { missing } from './wire.ts';

const KEPT_SECONDS = 30 * 24 * 3600;

/** Stripe shows the events of the last 30 days. */
function kept(account: Account, event: StoredEvent): boolean {
  return event.created > account.seconds() - KEPT_SECONDS;
}

/** The events, each with the number of deliveries that have not arrived. */
function withPending(account: Account, events: StoredEvent[]): StoredEvent[] {
  const waiting = new Set(account.store.all('delivery').map((delivery) => delivery.event));
  return events.map((event) => ({ ...event, pending_webhooks: waiting.has(event.id) ? 1 : 0 }));
}

export const eventRoutes: Route[] = [
  {
    method: 'GET',
    path: '/v1/events/:id',
    answer: ({ account, id }) => {
      const event = account.store.get('event', id);
      if (event === undefined || !kept(account, event)) throw missing('event', id, 'id', 404);
      return withPending(account, [event])[0];
    },
  },
  {
    method: 'GET',
    path: '/v1/events',
    answer: ({ account, params }) => {
      const types = params.list('types');
      const { types: _, ...rest } = params.form;
      const events = account.store
        .all('event')
        .filter((event) => kept(account, event) && (types?.includes(event.type) ?? true));
      return listPage(params.of(rest), '/v1/events', 'event', withPending(account, events), {
        type: (event, value) =>
          value.endsWith('*') ? event.type.startsWith(value.slice(0, -1)) : event.type === value,
        delivery_success: (event, value) => (event.pending_webhooks === 0) === (value === 'true'),
      });
    },
  },
];
