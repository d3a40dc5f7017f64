import type Stripe from 'stripe';
import * as z from 'zod';
import { ApiError, pointerTo } from '../base/errors.ts';
import { decodeText, findUnstorable, parseBody } from '../base/json.ts';
import { fromMinor } from '../base/money.ts';
import { isFreshAndSignedBy, type LazyBody } from '../base/signature.ts';
import type { Context } from '../context.ts';
import {
  callStripe,
  idOf,
  intentUpdate,
  openStripe,
  refundUpdate,
  StripeCallError,
  type StripeSettings,
  type StripeUpdate,
  setupUpdate,
} from './client.ts';
import { cellIn } from './metadata.ts';

const minorUnits = z.number().int().min(0).max(9_999_999_999);
const shortText = z.string().min(1).max(255);
/** The fields that we read of an event's object. An object with other fields (another API version) is ignored. */
const supportedObject = z.discriminatedUnion('object', [
  z.object({
    object: z.literal('payment_intent'),
    id: shortText,
    status: z.string(),
    currency: z.string(),
    amount: minorUnits,
    amount_received: minorUnits,
  }),
  z.object({ object: z.literal('setup_intent'), id: shortText, status: z.string() }),
  z.object({ object: z.literal('refund'), id: shortText, currency: z.string(), amount: minorUnits.min(1) }),
  z.object({
    object: z.literal('charge'),
    currency: z.string(),
    amount_captured: minorUnits,
    amount_refunded: minorUnits,
  }),
  z.object({ object: z.literal('dispute'), status: z.string() }),
]);

/**
 * Verifies a webhook's signature (with one of our secrets, at most 300 s old or ahead) and reads its event. Returns no
 * `update` if the event does not concern us.
 * @throws ApiError invalid_signature, malformed_json, validation_failed (a text that cannot be stored)
 */
export async function readWebhook({ settings, now }: Context, body: LazyBody, signature: string | undefined) {
  const secrets = settings.STRIPE_WEBHOOK_SECRET.split(',').map((secret) => secret.trim());
  if (!(await isFreshAndSignedBy(secrets, signature ?? '', body, now()))) throw new ApiError('invalid_signature');
  const event = parseBody(decodeText(await body())) as Stripe.Event | null;
  const update = event === null ? undefined : readEvent(event);
  if (!update) return {};
  const path = findUnstorable(update);
  if (path) {
    const faults = [{ pointer: pointerTo(path), detail: 'has characters that cannot be stored' }];
    throw new ApiError('validation_failed', undefined, { faults });
  }
  return { update };
}

function readEvent(event: Stripe.Event): (StripeUpdate & { eventId: string }) | undefined {
  if (!shortText.safeParse(event.id).success || !supportedObject.safeParse(event.data?.object).success)
    return undefined;
  const update = updateOf(event);
  return update && { ...update, eventId: event.id };
}

/** Events about rows that the reconciliation no longer checks. Only webhooks and the event list report them. */
export const webhookOnlyTypes = ['refund.failed', 'charge.dispute.created', 'charge.dispute.closed'];

/** Every event type that `updateOf` handles. */
export const handledTypes = [
  ...webhookOnlyTypes,
  ...['succeeded', 'setup_failed', 'canceled', 'requires_action'].map((event) => `setup_intent.${event}`),
  ...['succeeded', 'payment_failed', 'canceled', 'processing', 'requires_action', 'amount_capturable_updated'].map(
    (event) => `payment_intent.${event}`,
  ),
  ...['refund.created', 'refund.updated', 'charge.refunded'],
];

/**
 * Stripe's events between two times, oldest first. `from` and `to` are milliseconds; they are rounded to whole seconds,
 * and `to` is excluded. Undefined if there are more than `max`: use a shorter range.
 * @throws StripeCallError
 */
export async function listUpdates(settings: StripeSettings, types: string[], from: number, to: number, max: number) {
  const created = { gte: Math.floor(from / 1000), lt: Math.ceil(to / 1000) };
  const list = openStripe(settings).events.list({ types, created, limit: 100 });
  const events = await callStripe(list.autoPagingToArray({ limit: Math.min(max + 1, 10_000) }));
  if (events.length > max) return undefined;
  // Stripe lists the newest first. Reversed, events of the same second keep their order in the sort.
  return events
    .reverse()
    .sort((a, b) => a.created - b.created)
    .map(readEvent)
    .filter((update) => update !== undefined)
    .filter((update) => !findUnstorable(update));
}

/** Reads one event. Undefined if Stripe no longer keeps it. @throws StripeCallError */
export async function lookUpUpdate(settings: StripeSettings, eventId: string): Promise<StripeUpdate | undefined> {
  try {
    return readEvent(await callStripe(openStripe(settings).events.retrieve(eventId)));
  } catch (error) {
    if (error instanceof StripeCallError && error.permanent) return undefined;
    throw error;
  }
}

function updateOf(event: Stripe.Event): StripeUpdate | undefined {
  switch (event.type) {
    case 'setup_intent.succeeded':
    case 'setup_intent.setup_failed':
    case 'setup_intent.canceled':
    case 'setup_intent.requires_action':
      return setupUpdate(event.data.object);
    case 'payment_intent.succeeded':
    case 'payment_intent.payment_failed':
    case 'payment_intent.canceled':
    case 'payment_intent.processing':
    case 'payment_intent.requires_action':
    case 'payment_intent.amount_capturable_updated':
      return intentUpdate(event.data.object);
    case 'refund.created':
    case 'refund.updated':
    case 'refund.failed':
      return refundUpdate(event.data.object);
    case 'charge.refunded': {
      const charge = event.data.object;
      const intentId = idOf(charge.payment_intent);
      // A charge that was never captured only released its authorization.
      return intentId === undefined || charge.amount_captured === 0
        ? undefined
        : {
            cell: cellIn(charge.metadata),
            intentId,
            charge: { refunded: fromMinor(charge.amount_refunded, charge.currency) },
          };
    }
    case 'charge.dispute.created':
    case 'charge.dispute.closed': {
      const dispute = event.data.object;
      const intentId = idOf(dispute.payment_intent);
      const ended = ['won', 'warning_closed', 'prevented'].includes(dispute.status);
      const status = ended ? 'won' : dispute.status === 'lost' ? 'lost' : 'open';
      return intentId === undefined ? undefined : { cell: cellIn(dispute.metadata), intentId, dispute: { status } };
    }
    default:
      return undefined;
  }
}
