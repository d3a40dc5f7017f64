import { cellAttribute } from '../base/cells.ts';
import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import type { Context } from '../context.ts';
import type { Settings } from '../env.ts';
import { cellOf, contextFor, delaySeconds, isDatabaseAvailable, isEvent, isPaused } from './message.ts';

/** The tenant of a message that names none. No API key can read such a dead letter; an operator's SQL can. */
export const unknownTenant = 'unknown';

/** A dead-letter queue has no queue behind it. A message that cannot be stored is retried for days, at least hourly. */
const maxDelaySeconds = 3_600;

/** Removes from a value what Postgres cannot store: NUL and halves of surrogate pairs, in names too. */
export function toStorable(value: unknown): unknown {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // JSON has no circular references and no bigint.
  }
  if (text === undefined) return String(value);
  return JSON.parse(
    text.replace(/\\(u0000|ud[89a-f][0-9a-f]{2}|.)/g, (match, escaped) => (escaped.length > 1 ? '\\ufffd' : match)),
  );
}

function toDeadLetter(service: string, message: Message<unknown>, reason: string | undefined) {
  const { body } = message;
  const isKnownEvent = isEvent(body);
  return {
    id: newId(new Date()),
    tenant: isKnownEvent ? body.tenantid : unknownTenant,
    sink: service,
    eventId: isKnownEvent ? body.id : message.id,
    topic: isKnownEvent ? body.type : '',
    key: isKnownEvent ? body.subject : '',
    seq: isKnownEvent && /^\d{1,18}$/.test(body.sequence ?? '') ? body.sequence : null,
    message: isKnownEvent ? body : { body: toStorable(body) },
    reason: isKnownEvent
      ? (reason ?? `Not applied after ${message.attempts} deliveries from the queue.`)
      : 'The message is not an event.',
    attempts: message.attempts,
  };
}

/**
 * Stores messages that a service could not apply as dead letters of their cells, in one call for each cell, and then
 * acknowledges them. Each event
 * is stored once while its dead letter waits for a replay. If the call fails, each message is stored alone, and one
 * that cannot be stored is delivered again later. Never throws. `reason`: why the consumer gave up before the queue
 * did.
 */
export async function storeDeadLetters(
  settings: Settings,
  service: string,
  messages: readonly Message<unknown>[],
  reason?: string,
): Promise<void> {
  const cells = [...Map.groupBy(messages, ({ body }) => cellOf(body))];
  await Promise.all(cells.map(([cell, ofCell]) => storeInCell(contextFor(settings, cell), service, ofCell, reason)));
}

async function storeInCell(
  context: Context,
  service: string,
  messages: readonly Message<unknown>[],
  reason: string | undefined,
): Promise<void> {
  const started = Date.now();
  const [first] = messages;
  if (!first) return;
  const retryAll = () => {
    for (const message of messages) message.retry({ delaySeconds: delaySeconds(message.attempts, maxDelaySeconds) });
  };
  const deadLetters = messages.map((message) => toDeadLetter(service, message, reason));
  const { eventId: id, tenant } = deadLetters[0] ?? { eventId: first.id, tenant: unknownTenant };
  const line = {
    kind: 'message' as const,
    id,
    tenant,
    cell: cellAttribute(context.db.cell),
    service,
    messages: messages.length,
  };
  if (isPaused(first)) {
    retryAll();
    log({ ...line, outcome: 'paused', durationMs: 0, dbCalls: 0 });
    return;
  }
  try {
    await context.db.run('platform.keep_dead_letters', context.call, { messages: toStorable(deadLetters) });
    for (const message of messages) message.ack();
    log({ ...line, outcome: 'dead_letter', durationMs: Date.now() - started, dbCalls: context.db.usage.calls });
  } catch (error) {
    const usage = { durationMs: Date.now() - started, dbCalls: context.db.usage.calls };
    if (messages.length > 1 && (await isDatabaseAvailable(context))) {
      log({ ...line, outcome: 'split', ...usage, ...describeError(error) });
      for (const message of messages) await storeInCell(context, service, [message], reason);
      return;
    }
    retryAll();
    log({ ...line, outcome: 'retry', attempts: first.attempts, ...usage, ...describeError(error) });
  }
}
