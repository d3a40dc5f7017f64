import * as z from 'zod';
import { defaultCell, qualifyTenant } from '../../base/cells.ts';
import { ApiError } from '../../base/errors.ts';
import { time } from '../../base/fields.ts';
import { sha256 } from '../../base/sha256.ts';
import type { Context } from '../../context.ts';
import type { WriteResult } from '../../db/client.ts';

export const liveToken = z
  .object({
    token: z.string().meta({ description: 'For `/live?token=` of this campaign or team' }),
    expiresAt: time,
  })
  .meta({ id: 'LiveToken' });

type LiveToken = z.infer<typeof liveToken>;

/** How often an isolate reads a campaign or team from the database, however many clients watch it there. */
const pollMs = 2_000;
/** How often an isolate checks whether a key is still valid, however many clients use it. */
const keyCheckMs = 4_000;
const heartbeatMs = 10_000;
/** After this time without a result of a read, another watcher reads. */
const readTimeoutMs = 10_000;

/** `shown`: the data of an event, apart from the time left. `end`: whether it is over, or will be at its `endTime`. */
export type LiveState = { shown: { endTime: string }; end: 'over' | 'at_end_time' | 'open' };

/** What can be watched. `name`: the name of its events. `read` throws not_found. */
export type Watchable = {
  name: 'campaign' | 'team';
  read: (context: Context, id: string) => Promise<{ state: LiveState; tenant: string }>;
};

type Snapshot = { state: LiveState; hash: string; readAt: number; askedAt: number };

// Watchers share results, not promises: a watcher that disconnects during its read must not block the others.
const snapshots = new Map<string, Snapshot>();
const maxEntries = 1_000;

const nameOf = (context: Context, tenant: string, { name }: Watchable, id: string): string =>
  `${qualifyTenant(tenant, context.db.cell)} ${name} ${id}`;

async function readSnapshot(context: Context, watchable: Watchable, id: string) {
  const { state, tenant } = await watchable.read(context, id);
  const now = Date.now();
  const hash = sha256(JSON.stringify(state.shown)).slice(0, 16);
  const snapshot: Snapshot = { state, hash, readAt: now, askedAt: now };
  if (snapshots.size >= maxEntries) snapshots.clear();
  snapshots.set(nameOf(context, tenant, watchable, id), snapshot);
  return { ...snapshot, tenant };
}

/**
 * What this isolate last read. Reads again if the snapshot is older than 2 s and no other watcher is reading.
 */
async function currentSnapshot(context: Context, watchable: Watchable, tenant: string, id: string): Promise<Snapshot> {
  const known = snapshots.get(nameOf(context, tenant, watchable, id));
  const now = Date.now();
  if (known) {
    const isReading = known.askedAt > known.readAt && now - known.askedAt < readTimeoutMs;
    if (isReading || now - known.readAt < pollMs) return known;
    known.askedAt = now;
  }
  return readSnapshot(context, watchable, id);
}

/** The last check of each key, by the key's hash and origin. */
const keyChecks = new Map<string, { checkedAt: number; rejected: boolean }>();

/**
 * Checks that the watcher's key is still valid, at most every 4 s for each key. Snapshots are shared between watchers;
 * keys are checked one by one.
 * @throws ApiError unauthenticated, forbidden
 */
async function checkKey({ db, call }: Context): Promise<void> {
  const reader = `${call.keyHash} ${call.origin ?? ''}`;
  const last = keyChecks.get(reader);
  const checkedAt = Date.now();
  if (last !== undefined && checkedAt - last.checkedAt < keyCheckMs) {
    if (last.rejected) throw new ApiError('unauthenticated');
    return;
  }
  if (keyChecks.size >= maxEntries) keyChecks.clear();
  keyChecks.set(reader, { checkedAt, rejected: false });
  await db.authenticate(call, 'campaigns:read').catch((thrown: unknown) => {
    if (thrown instanceof ApiError && endReason(thrown) === 'unauthenticated')
      keyChecks.set(reader, { checkedAt, rejected: true });
    throw thrown;
  });
}

const isPastEnd = ({ shown }: LiveState): boolean => Date.parse(shown.endTime) <= Date.now();

const isOver = (state: LiveState): boolean => state.end === 'over' || (state.end === 'at_end_time' && isPastEnd(state));

/**
 * An event's id: a hash of what it shows, and whether `endTime` has passed. A version would not do: the counts of a
 * campaign with teams are added up from its teams and do not change its row.
 */
const eventId = ({ state, hash }: Snapshot): string => `${hash}${isPastEnd(state) ? '-ended' : ''}`;

function changeEvent(name: Watchable['name'], snapshot: Snapshot): string {
  const { state } = snapshot;
  const left = Math.ceil((Date.parse(state.shown.endTime) - Date.now()) / 1_000);
  const data = { ...state.shown, secondsLeft: isOver(state) ? 0 : Math.max(0, left) };
  return `id: ${eventId(snapshot)}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** The reasons why a connection ends, and whether the client should reconnect. */
const reconnectAfter = {
  campaign_over: false,
  team_over: false,
  time_limit: true,
  unauthenticated: false,
  unavailable: true,
};

/** The last event of a connection. It has no id, so `Last-Event-ID` still names the last change. */
const endEvent = (reason: keyof typeof reconnectAfter): string =>
  `event: end\ndata: ${JSON.stringify({ reason, reconnect: reconnectAfter[reason] })}\n\n`;

const endReason = (thrown: unknown): keyof typeof reconnectAfter =>
  thrown instanceof ApiError && ['unauthenticated', 'forbidden', 'not_found'].includes(thrown.code)
    ? 'unauthenticated'
    : 'unavailable';

/**
 * The changes of a campaign or team as server-sent events (HTML standard, 9.2). Sends the present state unless
 * `lastEventId` names it, then each observed change, and one event when `endTime` passes. The connection ends with the
 * campaign or team, after LIVE_SECONDS, or a few seconds after its key is revoked. Its last event, `end`, says whether
 * to reconnect. Undefined if it is over and the client has its final state.
 * @throws ApiError not_found
 */
export async function watch(context: Context, watchable: Watchable, id: string, lastEventId: string | undefined) {
  const first = await readSnapshot(context, watchable, id);
  if (isOver(first.state) && lastEventId === eventId(first)) return undefined;
  const until = Date.now() + context.settings.LIVE_SECONDS * 1_000;
  let disconnected = false;
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      const encoder = new TextEncoder();
      let sentAt = Date.now();
      const send = (text: string) => {
        if (disconnected) return;
        controller.enqueue(encoder.encode(text));
        sentAt = Date.now();
      };
      send('retry: 1000\n\n');
      let latest: Snapshot = first;
      let sent = lastEventId;
      try {
        for (;;) {
          if (eventId(latest) !== sent) {
            send(changeEvent(watchable.name, latest));
            sent = eventId(latest);
          } else if (Date.now() - sentAt >= heartbeatMs) send(': still here\n\n');
          if (disconnected) break;
          if (isOver(latest.state)) {
            send(endEvent(`${watchable.name}_over`));
            break;
          }
          if (Date.now() >= until) {
            send(endEvent('time_limit'));
            break;
          }
          await new Promise((resolve) => setTimeout(resolve, waitFor(latest.state, until)));
          await checkKey(context);
          latest = await currentSnapshot(context, watchable, first.tenant, id);
        }
      } catch (thrown) {
        send(endEvent(endReason(thrown)));
      }
      if (!disconnected) controller.close();
    },
    cancel() {
      disconnected = true;
    },
  });
  return { stream, tenant: first.tenant };
}

/** How long a token can open streams. A page can request a new one at any time. */
const tokenSeconds = 900;

/**
 * Makes a token for the stream of one campaign or team, for a browser's EventSource. In the query it replaces the key for
 * 15 minutes. It opens nothing else and ends with the key. It is signed and not stored. The same Idempotency-Key gives the
 * same token.
 * @throws ApiError not_found
 */
export async function makeLiveToken(context: Context, of: { campaignId: string } | { teamId: string }) {
  const made = await context.db.run<WriteResult<LiveToken>>('group_commerce.make_live_token', context.call, {
    ...of,
    seconds: tokenSeconds,
  });
  const { cell } = context.db;
  const token = cell === defaultCell ? made.answer.token : made.answer.token.replace(/^lt_/, `lt_${cell}_`);
  return { token: { ...made.answer, token }, tenant: made.tenant, replayed: made.replayed };
}

/** Milliseconds until the next read: the poll interval, or less if `endTime` or the connection's limit comes first. */
function waitFor({ shown }: LiveState, until: number): number {
  const now = Date.now();
  const untilEnd = Date.parse(shown.endTime) - now;
  return Math.max(0, Math.min(pollMs, until - now, untilEnd > 0 ? untilEnd : pollMs));
}
