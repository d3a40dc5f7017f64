import { ApiError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { type Address, CarrierError, type Label, type LabelRequest } from '../carriers/carrier.ts';
import { selectCarrier } from '../carriers/select.ts';
import type { Context } from '../context.ts';
import { type LabelTask, labelById, type PostalAddress } from '../db/shipping/queries.ts';
import type { Settings } from '../env.ts';
import type { Event } from './events.ts';
import { toMessage } from './events.ts';

/** A carrier has this long for a label; whoever asks it has the request's lease for longer, so calls never overlap. */
const deadlineMs = 25_000;
const leaseSeconds = 60;
/** Failures in a row, some 17 minutes of the queue's growing waits; then the label is given up until it is replayed. */
const maxAttempts = 10;
/** No message that is still on its way rests for as long: the queue waits 300 s at most. */
const idleSeconds = 900;

export type Task = LabelTask & { traceparent?: string | null };

/** What `record_labels` and `record_shipment` take of a label that was made. */
type Made = Pick<Label, 'trackingNumber' | 'carrier' | 'externalId'> & {
  orderId: string;
  shipmentId: string;
  provider: string;
  labelUrl: string;
  traceparent?: string | null;
};
/** And of one that was not. */
type Failed = { orderId: string; shipmentId: string; reason: string; permanent: boolean; remind?: boolean };

export type Attempt =
  | { made: Made; keep: (tenant: string) => Promise<void> }
  | { made?: undefined; failed: Failed; error: unknown };

/** Why a message was not applied, and whether a later delivery would fail alike. */
export type Failure = { reason: string; permanent: boolean };

/** What the database notes of the circumstances in which labels are made. */
export const labelTerms = ({ SHIP_FROM, SHIP_PARCEL }: Settings) => ({
  from: SHIP_FROM,
  parcel: SHIP_PARCEL,
  seconds: leaseSeconds,
});

const toAddress = ({ state, name = '', postalCode = '', ...rest }: PostalAddress): Address => ({
  ...rest,
  name,
  postalCode,
  region: state,
});

export const toRequest = ({ shipmentId, orderId, to, from, parcel }: LabelTask): LabelRequest => ({
  shipmentId,
  orderId,
  to: toAddress(to),
  from: toAddress(from),
  parcel,
  reference: orderId,
});

const fileOf = (tenant: string, shipmentId: string) => `${tenant}/${shipmentId}.pdf`;

/** A label kept is a label that need not be asked for again, no more: what goes wrong here is no failure. */
async function keepPdf(bucket: R2Bucket | undefined, file: string, print: () => Promise<Uint8Array>): Promise<void> {
  if (!bucket) return;
  await print()
    .then((pdf) => bucket.put(file, pdf, { httpMetadata: { contentType: 'application/pdf' } }))
    .catch(() => undefined);
}

/**
 * Asks the carrier for a label whose lease the caller has. Whatever happens, the answer says what is to be recorded;
 * `keep` stores the PDF once it is.
 */
export async function attemptLabel({ settings }: Context, task: Task): Promise<Attempt> {
  const { orderId, shipmentId, traceparent } = task;
  try {
    const carrier = selectCarrier(settings.CARRIER, settings);
    const request = toRequest(task);
    const label = await carrier.createLabel(request, AbortSignal.timeout(deadlineMs));
    const made = {
      orderId,
      shipmentId,
      trackingNumber: label.trackingNumber,
      carrier: label.carrier,
      externalId: label.externalId,
      provider: carrier.name,
      labelUrl: `${settings.PUBLIC_URL?.replace(/\/+$/, '') ?? ''}/v1/shipments/${shipmentId}/label`,
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    const print = async () => label.pdf ?? carrier.printLabel(request, label, AbortSignal.timeout(deadlineMs));
    return { made, keep: (tenant) => keepPdf(settings.LABELS, fileOf(tenant, shipmentId), print) };
  } catch (error) {
    const known = error instanceof CarrierError;
    const reason = known ? error.message : `unexpected ${error instanceof Error ? error.name : 'error'}`;
    return { failed: { orderId, shipmentId, reason, permanent: known && error.permanent }, error };
  }
}

/**
 * Records what became of labels, and keeps the PDFs of those that were made. `most`: failures before one is given up.
 */
export async function recordLabels(context: Context, tenant: string, attempts: Attempt[], most?: number) {
  // In the tenant's name, without a key: recording again changes nothing, so a lost answer may be asked for again.
  const { keyHash: _key, idempotencyKey: _once, requestHash: _hash, ...call } = context.call;
  const recorded = await context.db.run<Record<'made' | 'refused' | 'open', string[]>>('shipping.record_labels', call, {
    tenant,
    most,
    results: attempts.map((attempt) => attempt.made ?? attempt.failed),
  });
  const kept = attempts.filter((attempt) => attempt.made && recorded.made.includes(attempt.made.orderId));
  await Promise.all(kept.map((attempt) => attempt.made && attempt.keep(tenant)));
  return recorded;
}

/**
 * Makes the labels that these events ask for: two database calls a batch, with the carrier in between. A second
 * delivery makes what the first did not; an order without an address waits for one; an ended order gets no label any
 * more.
 * @returns by event id, why a label is not there yet, or that it was given up
 * @throws what was no carrier's failure, after everything is recorded
 */
export async function makeLabels(context: Context, tenant: string, events: Event[]): Promise<Map<string, Failure>> {
  const messages = events.map((event) => ({ ...toMessage(event), shipmentId: newId(context.now()) }));
  const { tasks, busy } = await context.db.run<{ tasks: Task[]; busy: string[] }>(
    'shipping.open_labels',
    context.call,
    { tenant, messages, ...labelTerms(context.settings) },
  );
  const failures = new Map<string, Failure>();
  const fail = (orderId: string, failure: Failure) => {
    for (const event of events) if (event.subject === orderId) failures.set(event.id, failure);
  };
  for (const orderId of busy) fail(orderId, { reason: 'Somebody else is making this label.', permanent: false });
  if (tasks.length === 0) return failures;
  const attempts = await Promise.all(tasks.map((task) => attemptLabel(context, task)));
  const { refused, open } = await recordLabels(context, tenant, attempts, maxAttempts);
  for (const attempt of attempts) {
    if (attempt.made) continue;
    const { failed, error } = attempt;
    if (!(error instanceof CarrierError)) throw error;
    if (refused.includes(failed.orderId)) fail(failed.orderId, { reason: failed.reason, permanent: true });
    if (open.includes(failed.orderId)) fail(failed.orderId, { reason: failed.reason, permanent: false });
  }
  return failures;
}

/** The cron's part, since a message can be lost: labels that nobody has tried to make for 15 minutes get another. */
export const remindLabels = (context: Context): Promise<{ reminded: number }> =>
  context.db.run('shipping.remind_labels', context.call, { idleSeconds, limit: 200, most: maxAttempts });

/**
 * The printable label (PDF) of a shipment, in one database call: the one that was kept, or else drawn or fetched again.
 * @throws ApiError not_found, conflict (it was cancelled with its order), unavailable (the carrier is away)
 */
export async function readLabel(context: Context, shipmentId: string) {
  const { LABELS: bucket } = context.settings;
  const { tenant, rows } = await context.db.read(context.call, 'shipping:read', (db) => labelById(db, shipmentId));
  const [label] = rows;
  if (!label) throw new ApiError('not_found');
  const { task, provider, carrier, trackingNumber, externalId, cancelledAt } = label;
  if (cancelledAt) throw new ApiError('conflict', 'The label was cancelled with its order. Do not use it.');
  const file = fileOf(tenant, shipmentId);
  const kept = await bucket?.get(file).catch(() => null);
  if (kept) return { pdf: new Uint8Array(await kept.arrayBuffer()), trackingNumber, tenant };
  try {
    const known = { trackingNumber, carrier, externalId: externalId ?? undefined };
    const printer = selectCarrier(provider, context.settings);
    const pdf = await printer.printLabel(toRequest(task), known, AbortSignal.timeout(deadlineMs));
    await keepPdf(bucket, file, async () => pdf);
    return { pdf, trackingNumber, tenant };
  } catch (error) {
    if (!(error instanceof CarrierError)) throw error;
    throw new ApiError('unavailable', 'The carrier does not give the label just now. Try again.');
  }
}
