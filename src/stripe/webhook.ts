import type Stripe from 'stripe';
import * as z from 'zod';
import { ApiError, pointerTo } from '../base/errors.ts';
import { decodeText, findUnstorable, parseBody } from '../base/json.ts';
import { fromMinor } from '../base/money.ts';
import { isFreshAndSignedBy, type LazyBody } from '../base/signature.ts';
import type { Settings } from '../env.ts';
import {
  callStripe,
  idOf,
  intentUpdate,
  openStripe,
  type StripeAccount,
  StripeCallError,
  type StripeSettings,
  type StripeUpdate,
  setupUpdate,
} from './client.ts';
import { cellIn } from './metadata.ts';
import { refundUpdate } from './refunds.ts';

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

const accountId = z.string().regex(/^acct_\w{1,250}$/);

/** What Stripe reports about a tenant's account. `tenant`: the one that its metadata names. */
export type AccountUpdate = {
  cell: string | undefined;
  account: string;
  tenant: string | null;
  /** The account can take payments. */
  isEnabled?: boolean;
  /** The tenant has withdrawn our access. */
  isWithdrawn?: boolean;
};

type WebhookSettings = Pick<Settings, 'STRIPE_SECRET_KEY' | 'STRIPE_WEBHOOK_SECRET' | 'STRIPE_CONNECT_WEBHOOK_SECRET'>;

/**
 * Verifies a webhook's signature (with one of our secrets, at most 300 s old or ahead) and reads its event: an `update`
 * of a payment, an `accountUpdate`, or neither if it does not concern us. Only an event that the secret of the Connect
 * endpoint has signed is about a tenant's account, and only such an event may name one: everybody whose account is
 * connected can cause events there, and must not be able to cause those of another.
 * @throws ApiError invalid_signature, malformed_json, validation_failed (a text that cannot be stored)
 */
export async function readWebhook(
  { settings, now }: { settings: WebhookSettings; now: () => Date },
  body: LazyBody,
  signature: string | undefined,
) {
  const isSignedWith = (secrets = '') =>
    isFreshAndSignedBy(
      secrets.split(',').map((secret) => secret.trim()),
      signature ?? '',
      body,
      now(),
    );
  const isOwn = await isSignedWith(settings.STRIPE_WEBHOOK_SECRET);
  if (!isOwn && !(await isSignedWith(settings.STRIPE_CONNECT_WEBHOOK_SECRET))) throw new ApiError('invalid_signature');
  const event = parseBody(decodeText(await body())) as Stripe.Event | null;
  if (event === null || typeof event !== 'object') return {};
  const account = event.account ?? null;
  if (isOwn !== (account === null) || (account !== null && !accountId.safeParse(account).success)) {
    const detail = isOwn
      ? 'This event is about a connected account, but the secret of the platform’s own endpoint has signed it.'
      : 'This event is about no connected account, but the secret of the Connect endpoint has signed it.';
    throw new ApiError('invalid_signature', detail);
  }
  // A Connect endpoint also gets the events of test mode, where no money moves.
  const isLive = /^\w+_live_/.test(settings.STRIPE_SECRET_KEY);
  if (account !== null && isLive && event.livemode === false) return {};
  const accountUpdate = account === null ? undefined : accountUpdateOf(account, event);
  const update = readEvent(account, event);
  const path = findUnstorable(accountUpdate ?? update ?? {});
  if (path) {
    const faults = [{ pointer: pointerTo(path), detail: 'has characters that cannot be stored' }];
    throw new ApiError('validation_failed', undefined, { faults });
  }
  return { update, accountUpdate };
}

/** Reads an event of one account. An event that names another account is ignored. */
function readEvent(account: StripeAccount, event: Stripe.Event): (StripeUpdate & { eventId: string }) | undefined {
  if (!shortText.safeParse(event.id).success || !supportedObject.safeParse(event.data?.object).success)
    return undefined;
  if ((event.account ?? account) !== account) return undefined;
  const update = updateOf(account, event);
  return update && { ...update, eventId: event.id };
}

function accountUpdateOf(account: string, event: Stripe.Event): AccountUpdate | undefined {
  if (event.type === 'account.application.deauthorized')
    return { cell: undefined, account, tenant: null, isWithdrawn: true };
  if (event.type !== 'account.updated' || event.data?.object?.id !== account) return undefined;
  const { metadata, charges_enabled: isEnabled } = event.data.object;
  return { cell: metadata?.cell, account, tenant: metadata?.tenant ?? null, isEnabled };
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
 * An account's events between two times, oldest first. `from` and `to` are milliseconds; they are rounded to whole
 * seconds, and `to` is excluded. Undefined if there are more than `max`: use a shorter range.
 * @throws StripeCallError
 */
export async function listUpdates(
  settings: StripeSettings,
  account: StripeAccount,
  types: string[],
  from: number,
  to: number,
  max: number,
) {
  const created = { gte: Math.floor(from / 1000), lt: Math.ceil(to / 1000) };
  const list = openStripe(settings, account).events.list({ types, created, limit: 100 });
  const events = await callStripe(list.autoPagingToArray({ limit: Math.min(max + 1, 10_000) }));
  if (events.length > max) return undefined;
  // Stripe lists the newest first. Reversed, events of the same second keep their order in the sort.
  return events
    .reverse()
    .sort((a, b) => a.created - b.created)
    .map((event) => readEvent(account, event))
    .filter((update) => update !== undefined)
    .filter((update) => !findUnstorable(update));
}

/** Reads one event. Undefined if Stripe no longer keeps it. @throws StripeCallError */
export async function lookUpUpdate(
  settings: StripeSettings,
  account: StripeAccount,
  eventId: string,
): Promise<StripeUpdate | undefined> {
  try {
    return readEvent(account, await callStripe(openStripe(settings, account).events.retrieve(eventId)));
  } catch (error) {
    if (error instanceof StripeCallError && error.permanent) return undefined;
    throw error;
  }
}

function updateOf(account: StripeAccount, event: Stripe.Event): StripeUpdate | undefined {
  switch (event.type) {
    case 'setup_intent.succeeded':
    case 'setup_intent.setup_failed':
    case 'setup_intent.canceled':
    case 'setup_intent.requires_action':
      return setupUpdate(account, event.data.object);
    case 'payment_intent.succeeded':
    case 'payment_intent.payment_failed':
    case 'payment_intent.canceled':
    case 'payment_intent.processing':
    case 'payment_intent.requires_action':
    case 'payment_intent.amount_capturable_updated':
      return intentUpdate(account, event.data.object);
    case 'refund.created':
    case 'refund.updated':
    case 'refund.failed':
      return refundUpdate(account, event.data.object);
    case 'charge.refunded': {
      const charge = event.data.object;
      const intentId = idOf(charge.payment_intent);
      // A charge that was never captured only released its authorization.
      return intentId === undefined || charge.amount_captured === 0
        ? undefined
        : {
            cell: cellIn(charge.metadata),
            account,
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
      return intentId === undefined
        ? undefined
        : { cell: cellIn(dispute.metadata), account, intentId, dispute: { status } };
    }
    default:
      return undefined;
  }
}
