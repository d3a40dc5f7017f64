import * as z from 'zod';
import { ApiError } from '../base/errors.ts';
import { time } from '../base/fields.ts';
import type { Context } from '../context.ts';
import type { Written } from '../db/client.ts';
import { type Campaign, readCampaign } from './group-commerce.ts';

export const liveToken = z
  .object({ token: z.string().meta({ description: 'For `?token=` of this campaign’s `/live`' }), expiresAt: time })
  .meta({ id: 'LiveToken' });

type LiveToken = z.infer<typeof liveToken>;

/** How often an isolate asks the database about a campaign, however many watch it there. */
const pollMs = 2_000;
/** How often an isolate asks the database whether a key still holds, however many watch with it. */
const keyMs = 4_000;
const heartbeatMs = 10_000;
/** How long one watcher's question may be open before another asks. */
const patienceMs = 10_000;

type Seen = { campaign: Campaign; version: number; readAt: number; askedAt: number };

// Results are shared and not promises: a watcher that goes away while it asks must not leave the others waiting.
const seen = new Map<string, Seen>();
const maxSeen = 1_000;

async function look(context: Context, campaignId: string): Promise<Seen & { tenant: string }> {
  const { campaign, version, tenant } = await readCampaign(context, campaignId);
  const now = Date.now();
  const mine = { campaign, version, readAt: now, askedAt: now };
  if (seen.size >= maxSeen) seen.clear();
  seen.set(`${tenant} ${campaignId}`, mine);
  return { ...mine, tenant };
}

/** What this isolate knows of the campaign, at most 2 s old or being asked for by another watcher. */
async function lookAgain(context: Context, tenant: string, campaignId: string): Promise<Seen> {
  const known = seen.get(`${tenant} ${campaignId}`);
  const now = Date.now();
  if (known) {
    const asking = known.askedAt > known.readAt && now - known.askedAt < patienceMs;
    if (asking || now - known.readAt < pollMs) return known;
    known.askedAt = now;
  }
  return look(context, campaignId);
}

/** The last answer about each key, by its hash and origin. */
const judged = new Map<string, { at: number; refused: boolean }>();

/**
 * Asks whether the watcher's key still holds, at most every 4 s for each key: what watchers see is shared between them,
 * their keys are not.
 * @throws ApiError unauthenticated, forbidden
 */
async function checkKey({ db, call }: Context): Promise<void> {
  const reader = `${call.keyHash} ${call.origin ?? ''}`;
  const last = judged.get(reader);
  const at = Date.now();
  if (last !== undefined && at - last.at < keyMs) {
    if (last.refused) throw new ApiError('unauthenticated');
    return;
  }
  if (judged.size >= maxSeen) judged.clear();
  judged.set(reader, { at, refused: false });
  await db.authenticate(call, 'campaigns:read').catch((thrown: unknown) => {
    if (thrown instanceof ApiError && endOf(thrown) === 'unauthenticated') judged.set(reader, { at, refused: true });
    throw thrown;
  });
}

const hasEnded = ({ endTime }: Campaign): boolean => Date.parse(endTime) <= Date.now();

const isOver = (campaign: Campaign): boolean =>
  campaign.status === 'failed' ||
  campaign.status === 'expired' ||
  (campaign.status === 'successful' && hasEnded(campaign));

/** An event's id: the campaign's version, and whether `endTime` had passed, which no version tells. */
const eventId = ({ campaign, version }: Seen): string => `${version}${hasEnded(campaign) ? '-ended' : ''}`;

function campaignEvent(seen: Seen): string {
  const { campaign } = seen;
  const { id, status, actualParticipants, securedParticipants, minParticipants, maxParticipants, endTime } = campaign;
  const secondsLeft = isOver(campaign) ? 0 : Math.max(0, Math.ceil((Date.parse(endTime) - Date.now()) / 1_000));
  const counts = { actualParticipants, securedParticipants, minParticipants, maxParticipants };
  const data = { id, status, ...counts, endTime, secondsLeft };
  return `id: ${eventId(seen)}\nevent: campaign\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Why a connection ends, and whether the client is to connect again. */
const ends = {
  campaign_over: false,
  time_limit: true,
  unauthenticated: false,
  unavailable: true,
};

/** The last event of a connection. Without an id, so that `Last-Event-ID` still names the campaign's. */
const endEvent = (reason: keyof typeof ends): string =>
  `event: end\ndata: ${JSON.stringify({ reason, reconnect: ends[reason] })}\n\n`;

const endOf = (thrown: unknown): keyof typeof ends =>
  thrown instanceof ApiError && ['unauthenticated', 'forbidden', 'not_found'].includes(thrown.code)
    ? 'unauthenticated'
    : 'unavailable';

/**
 * A campaign's changes as server-sent events (HTML standard, 9.2): one when it differs from the state that
 * `lastEventId` names, then one for each change that is seen and one when `endTime` passes. The connection ends with
 * the campaign or after LIVE_SECONDS, or a few seconds after its key is revoked, with an event `end` that says whether
 * to connect again. Undefined: the campaign is over and the client knows it.
 * @throws ApiError not_found
 */
export async function watchCampaign(context: Context, campaignId: string, lastEventId: string | undefined) {
  const first = await look(context, campaignId);
  if (isOver(first.campaign) && lastEventId === eventId(first)) return undefined;
  const until = Date.now() + context.settings.LIVE_SECONDS * 1_000;
  let gone = false;
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      const encoder = new TextEncoder();
      let sentAt = Date.now();
      const send = (text: string) => {
        if (gone) return;
        controller.enqueue(encoder.encode(text));
        sentAt = Date.now();
      };
      send('retry: 1000\n\n');
      let known: Seen = first;
      let sent = lastEventId;
      try {
        for (;;) {
          if (eventId(known) !== sent) {
            send(campaignEvent(known));
            sent = eventId(known);
          } else if (Date.now() - sentAt >= heartbeatMs) send(': still here\n\n');
          if (gone) break;
          if (isOver(known.campaign)) {
            send(endEvent('campaign_over'));
            break;
          }
          if (Date.now() >= until) {
            send(endEvent('time_limit'));
            break;
          }
          await new Promise((resolve) => setTimeout(resolve, waitFor(known.campaign, until)));
          await checkKey(context);
          known = await lookAgain(context, first.tenant, campaignId);
        }
      } catch (thrown) {
        send(endEvent(endOf(thrown)));
      }
      if (!gone) controller.close();
    },
    cancel() {
      gone = true;
    },
  });
  return { stream, tenant: first.tenant };
}

/** A token lets a page open streams for so long; it can get another at any time. */
const tokenSeconds = 900;

/**
 * A token for one campaign's stream, for browsers' EventSource: it takes the key's place in the query for 15 minutes,
 * opens nothing else, and ends when the key does. It is signed and not stored. The same Idempotency-Key gives the same
 * token.
 * @throws ApiError not_found
 */
export async function makeLiveToken(context: Context, campaignId: string) {
  const made = await context.db.run<Written<LiveToken>>('group_commerce.make_live_token', context.call, {
    campaignId,
    seconds: tokenSeconds,
  });
  return { token: made.answer, tenant: made.tenant, replayed: made.replayed };
}

/** Milliseconds until the next look: a poll, or `endTime` or the connection's limit if that is sooner. */
function waitFor({ endTime }: Campaign, until: number): number {
  const now = Date.now();
  const untilEnd = Date.parse(endTime) - now;
  return Math.max(0, Math.min(pollMs, until - now, untilEnd > 0 ? untilEnd : pollMs));
}
