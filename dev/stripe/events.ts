import type { Account, Route } from './account.ts';
import { listPage } from './lists.ts';
import type { StoredEvent } from './store.ts';
import { missing } from './wire.ts';

const RETENTION_SECONDS = 30 * 24 * 3600;

/** Stripe only returns events of the last 30 days. */
function isRetained(account: Account, event: StoredEvent): boolean {
  return event.created > account.seconds() - RETENTION_SECONDS;
}

/** Sets `pending_webhooks` of each event to the number of webhooks that are not delivered yet. */
function withPending(account: Account, events: StoredEvent[]): StoredEvent[] {
  const undelivered = new Set(account.accounts.platform.store.all('delivery').map((delivery) => delivery.event));
  return events.map((event) => ({ ...event, pending_webhooks: undelivered.has(event.id) ? 1 : 0 }));
}

export const eventRoutes: Route[] = [
  {
    method: 'GET',
    path: '/v1/events/:id',
    handle: ({ account, id }) => {
      const event = account.store.get('event', id);
      if (event === undefined || !isRetained(account, event)) throw missing('event', id, 'id', 404);
      return withPending(account, [event])[0];
    },
  },
  {
    method: 'GET',
    path: '/v1/events',
    handle: ({ account, params }) => {
      const types = params.list('types');
      const { types: _, ...rest } = params.form;
      const events = account.store
        .all('event')
        .filter((event) => isRetained(account, event) && (types?.includes(event.type) ?? true));
      return listPage(params.withForm(rest), '/v1/events', 'event', withPending(account, events), {
        type: (event, value) =>
          value.endsWith('*') ? event.type.startsWith(value.slice(0, -1)) : event.type === value,
        delivery_success: (event, value) => (event.pending_webhooks === 0) === (value === 'true'),
      });
    },
  },
];
