import { newId } from '../base/ids.ts';
import { describeError, log } from '../base/log.ts';
import type { Settings } from '../env.ts';
import { contextFor, databaseAnswers, delaySeconds, isEvent } from './message.ts';

/** Who is asked about a message that names no tenant: unknownTenant's key can see it, an operator's SQL can. */
export const unknownTenant = 'unknown';

/** A dead-letter queue has none behind it: escaped cannot be kept now is tried for days, at least once an hour. */
const maxDelaySeconds = 3_600;

/** JSON that Postgres can store: without NUL and halves of surrogate pairs, in names too. */
export function toStorable(value: unknown): unknown {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // Neither a circle nor a bigint is JSON.
  }
  if (text === undefined) return String(value);
  return JSON.parse(
    text.replace(/\\(u0000|ud[89a-f][0-9a-f]{2}|.)/g, (match, escaped) => (escaped.length > 1 ? '\\ufffd' : match)),
  );
}

function toDeadLetter(service: string, message: Message<unknown>, reason: string | undefined) {
  const { body } = message;
  const known = isEvent(body);
  return {
    id: newId(new Date()),
    tenant: known ? body.tenantid : unknownTenant,
    sink: service,
    eventId: known ? body.id : message.id,
    topic: known ? body.type : '',
    key: known ? body.subject : '',
    seq: known && /^\d{1,18}$/.test(body.sequence ?? '') ? body.sequence : null,
    message: known ? body : { body: toStorable(body) },
    reason: known
      ? (reason ?? `Not applied after ${message.attempts} deliveries from the queue.`)
      : 'This message is no event.',
    attempts: message.attempts,
  };
}

/**
 * Keeps messages that a service could not apply as dead deadLetters, in one call, and then acknowledges them. Kept once
 * for each event while it waits to be replayed. If that fails, each is kept alone, and one that cannot be is delivered
 * again later. Never throws. `reason`: why it was given up before the queue did.
 */
export async function storeDeadLetters(
  settings: Settings,
  service: string,
  messages: readonly Message<unknown>[],
  reason?: string,
): Promise<void> {
  const started = Date.now();
  const [first] = messages;
  if (!first) return;
  const context = contextFor(settings);
  const deadLetters = messages.map((message) => toDeadLetter(service, message, reason));
  const { eventId: id, tenant } = deadLetters[0] ?? { eventId: first.id, tenant: unknownTenant };
  const line = { kind: 'message' as const, id, tenant, service, messages: messages.length };
  try {
    await context.db.run('platform.keep_dead_letters', context.call, { messages: toStorable(deadLetters) });
    for (const message of messages) message.ack();
    log({ ...line, outcome: 'dead_letter', durationMs: Date.now() - started, dbCalls: context.db.usage.calls });
  } catch (error) {
    const usage = { durationMs: Date.now() - started, dbCalls: context.db.usage.calls };
    if (messages.length > 1 && (await databaseAnswers(context))) {
      log({ ...line, outcome: 'split', ...usage, ...describeError(error) });
      for (const message of messages) await storeDeadLetters(settings, service, [message], reason);
      return;
    }
    for (const message of messages) message.retry({ delaySeconds: delaySeconds(message.attempts, maxDelaySeconds) });
    log({ ...line, outcome: 'retry', attempts: first.attempts, ...usage, ...describeError(error) });
  }
}
