import type { Database } from '../database.ts';
import type { Kafka } from '../kafka.ts';
import type { Plan } from '../plan.ts';
import { grouped, type Progress } from '../progress.ts';
import { auditGroups, auditPriceList } from './catalog.ts';
import { auditKafka, awaitOutbox } from './events.ts';
import { Findings } from './findings.ts';
import { type AuditedEvent, auditOrders } from './orders.ts';
import { auditStock } from './stock.ts';

/**
 * Compares the database and Kafka with the file. It reads the database in one snapshot, so a hold that expires
 * meanwhile does not show half of its changes. It changes nothing.
 * @throws ReplayError if Kafka is unavailable; Stopped
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
    await auditGroups(database, plan, findings);
    await auditPriceList(database, plan, events, findings);
  } finally {
    await database.client.query('commit');
  }
  progress.end(`${grouped(plan.orders)} orders and ${grouped(plan.products.size)} SKUs compared`);

  progress.begin('Outbox');
  const outbox = findings.check('events delivered');
  const undelivered = await awaitOutbox(database, events, progress, signal);
  outbox.close(grouped(events.size), grouped(events.size - undelivered));
  progress.end(
    undelivered === 0 ? 'all events are delivered' : `${grouped(undelivered)} events are not delivered`,
    undelivered === 0,
  );

  progress.begin('Kafka');
  await auditKafka(database, kafka, events, findings, progress);
  progress.end(`${grouped(events.size)} events compared`);
  return findings;
}
