import type { Database } from '../database.ts';
import type { Kafka } from '../kafka.ts';
import type { Plan } from '../plan.ts';
import { grouped, type Progress } from '../progress.ts';
import { auditKafka, awaitOutbox } from './events.ts';
import { Findings } from './findings.ts';
import { type AuditedEvent, auditOrders } from './orders.ts';
import { auditStock } from './stock.ts';

/**
 * Audits what is in the database and in Kafka against the file. The database is read at one moment (one snapshot), so a
 * hold that runs out meanwhile is seen whole or not at all. Nothing is changed.
 * @throws ReplayError Kafka is away; Stopped
 */
export async function audit(
  parts: { database: Database; kafka: Kafka; progress: Progress; signal: AbortSignal },
  plan: Plan,
): Promise<Findings> {
  const { database, kafka, progress, signal } = parts;
  const findings = new Findings();
  const events = new Map<string, AuditedEvent>();

  progress.begin('Database');
  await database.client.query('begin isolation level repeatable read read only');
  try {
    await auditOrders(database, plan, events, findings, progress);
    await auditStock(database, plan, events, findings);
  } finally {
    await database.client.query('commit');
  }
  progress.end(`${grouped(plan.orders)} orders and ${grouped(plan.products.size)} SKUs compared`);

  progress.begin('Outbox');
  const outbox = findings.check('events delivered');
  const left = await awaitOutbox(database, events, progress, signal);
  outbox.close(grouped(events.size), grouped(events.size - left));
  progress.end(left === 0 ? 'all events are delivered' : `${grouped(left)} events are not delivered`, left === 0);

  progress.begin('Kafka');
  await auditKafka(database, kafka, events, findings, progress);
  progress.end(`${grouped(events.size)} events compared`);
  return findings;
}
