import type { Context } from '../context.ts';
import { type Campaign, readCampaign } from './group-commerce.ts';

/** How often an isolate asks the database about a campaign, however many watch it there. */
const pollMs = 2_000;
const heartbeatMs = 10_000;
/** How long one watcher's question may be open before another asks. */
const patienceMs = 10_000;

type Seen = { campaign: Campaign; version: number; readAt: number; askedAt: number };

// Results are shared and not promises: a watcher that goes away while it asks must not leave the others waiting.
const seen = new Map<string, Seen>();
const mostSeen = 1_000;

async function look(context: Context, campaignId: string): Promise<Seen & { tenant: string }> {
  const { campaign, version, tenant } = await readCampaign(context, campaignId);
  const now = Date.now();
  const mine = { campaign, version, readAt: now, askedAt: now };
  if (seen.size >= mostSeen) seen.clear();
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

const isOver = ({ status, endTime }: Campaign): boolean =>
  status === 'failed' || status === 'expired' || (status === 'successful' && Date.parse(endTime) <= Date.now());

function message({ campaign, version }: Seen): string {
  const { id, status, actualParticipants, securedParticipants, minParticipants, maxParticipants, endTime } = campaign;
  const secondsLeft = isOver(campaign) ? 0 : Math.max(0, Math.ceil((Date.parse(endTime) - Date.now()) / 1_000));
  const counts = { actualParticipants, securedParticipants, minParticipants, maxParticipants };
  return `id: ${version}\nevent: campaign\ndata: ${JSON.stringify({ id, status, ...counts, endTime, secondsLeft })}\n\n`;
}

/**
 * A campaign's changes as server-sent events (HTML standard, 9.2): one when it differs from what `lastEventId` names, then
 * one for each change that is seen; `id` is the campaign's version. It ends after LIVE_SECONDS, or with the campaign; a
 * client connects again by itself. Undefined: the campaign is over and the client knows it, so it need not come again.
 * @throws ApiError not_found
 */
export async function watchCampaign(context: Context, campaignId: string, lastEventId: string | undefined) {
  const first = await look(context, campaignId);
  if (isOver(first.campaign) && lastEventId === String(first.version)) return undefined;
  const until = Date.now() + context.settings.LIVE_SECONDS * 1_000;
  let gone = false;
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      const encoder = new TextEncoder();
      let spoken = Date.now();
      const say = (text: string) => {
        if (gone) return;
        controller.enqueue(encoder.encode(text));
        spoken = Date.now();
      };
      say('retry: 1000\n\n');
      let known: Seen = first;
      let told = lastEventId;
      try {
        for (;;) {
          if (String(known.version) !== told) {
            say(message(known));
            told = String(known.version);
          } else if (Date.now() - spoken >= heartbeatMs) say(': still here\n\n');
          if (gone || isOver(known.campaign) || Date.now() >= until) break;
          await new Promise((resolve) => setTimeout(resolve, Math.min(pollMs, Math.max(until - Date.now(), 0))));
          known = await lookAgain(context, first.tenant, campaignId);
        }
      } catch {
        // The database is away, or the key was revoked: the client connects again and is told.
      }
      if (!gone) controller.close();
    },
    cancel() {
      gone = true;
    },
  });
  return { stream, tenant: first.tenant };
}
