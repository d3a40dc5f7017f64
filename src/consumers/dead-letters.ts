import type { Settings } from '../env.ts';
import { newId } from '../ids.ts';
import { log } from '../log.ts';
import { contextFor, isEvent } from './queue.ts';

/** Who is asked about a message that names no tenant: nobody's key can see it, an operator's SQL can. */
const nobody = 'unknown';

/**
 * Keeps messages that a service could not apply as dead letters, in one call, and then acknowledges them. Kept once
 * for each event while it waits to be replayed. `reason`: why it was given up before the queue did.
 */
export async function keepDeadLetters(
  settings: Settings,
  service: string,
  batch: { messages: readonly Message<unknown>[] },
  reason?: string,
): Promise<void> {
  const started = Date.now();
  const context = contextFor(settings);
  const messages = batch.messages.map((message) => {
    const { body } = message;
    const known = isEvent(body);
    return {
      id: newId(new Date()),
      tenant: known ? body.tenantid : nobody,
      sink: service,
      eventId: known ? body.id : message.id,
      topic: known ? body.type : '',
      key: known ? body.subject : '',
      seq: known && /^\d+$/.test(body.sequence ?? '') ? body.sequence : null,
      message: known ? body : { body },
      reason: known
        ? (reason ?? `Not applied after ${message.attempts} deliveries from the queue.`)
        : 'This message is no event.',
      attempts: message.attempts,
    };
  });
  await context.db.run('platform.keep_dead_letters', context.call, { messages });
  for (const message of batch.messages) message.ack();
  log({
    kind: 'message',
    id: messages[0]?.eventId ?? '',
    tenant: messages[0]?.tenant ?? null,
    service,
    outcome: 'dead_letter',
    messages: messages.length,
    durationMs: Date.now() - started,
    dbCalls: context.db.spent.calls,
  });
}
