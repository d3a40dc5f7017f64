import { qualifyTenant } from '../base/cells.ts';
import { ApiError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { type Address, CarrierError, type Label, type LabelRequest } from '../carriers/carrier.ts';
import { type Context, runLast } from '../context.ts';
import { type AccountRow, type LabelTask, labelById, type PostalAddress } from '../db/shipping/queries.ts';
import type { Settings } from '../env.ts';
import { isAboutCredentials, openCarrier } from './carrier-accounts.ts';
import type { Event } from './events.ts';
import { toMessage } from './events.ts';

/** A carrier has this long to make a label. The lease lasts longer, so two calls for one label never overlap. */
const deadlineMs = 25_000;
const leaseSeconds = 60;
/**
 * After this many failures in a row (about 17 minutes of growing queue delays) the label is given up. A replay of its
 * dead letter starts again.
 */
const maxAttempts = 10;
/** The queue delays a message for at most 300 s, so after this time the message is lost. */
const lostAfterSeconds = 900;

export type Task = LabelTask & { account: AccountRow; lease?: string; traceparent?: string | null };

/** A label that was made, as `record_labels` and `record_shipment` take it. */
type LabelMade = Pick<Label, 'trackingNumber' | 'carrier' | 'externalId'> & {
  orderId: string;
  shipmentId: string;
  provider: string;
  ownAccount: boolean;
  labelUrl: string;
  traceparent?: string | null;
};
/** A label that was not made, as `record_labels` takes it. */
type LabelFailed = Pick<Task, 'orderId' | 'shipmentId' | 'lease'> & {
  reason: string;
  permanent: boolean;
  remind?: boolean;
};

export type Attempt =
  | { made: LabelMade; storePdf: () => Promise<void> }
  | { made?: undefined; failed: LabelFailed; error: unknown };

/** Why a message was not applied. `permanent`: a later delivery would fail too. */
export type Failure = { reason: string; permanent: boolean };

/** The settings of the operator that the database stores with a label request, where its tenant has none of its own. */
export const labelSettings = ({ SHIP_FROM, SHIP_PARCEL, CARRIER }: Settings) => ({
  from: SHIP_FROM,
  parcel: SHIP_PARCEL,
  carrier: CARRIER,
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

const pdfKey = ({ db }: Context, tenant: string, shipmentId: string) =>
  `${qualifyTenant(tenant, db.cell)}/${shipmentId}.pdf`;

/** Stores a PDF. A failure is ignored, because the PDF can be made again. */
async function putPdf(bucket: R2Bucket | undefined, file: string, print: () => Promise<Uint8Array>): Promise<void> {
  if (!bucket) return;
  await print()
    .then((pdf) => bucket.put(file, pdf, { httpMetadata: { contentType: 'application/pdf' } }))
    .catch(() => undefined);
}

/**
 * Asks the carrier for a label that the caller has leased. Never throws: the result says what to record. Call
 * `storePdf` after that.
 */
export async function attemptLabel(context: Context, tenant: string, task: Task): Promise<Attempt> {
  const { settings } = context;
  const { orderId, shipmentId, lease, traceparent, account } = task;
  try {
    const carrier = await openCarrier(settings, tenant, account);
    const request = toRequest(task);
    const label = await carrier.createLabel(request, AbortSignal.timeout(deadlineMs));
    const made = {
      orderId,
      shipmentId,
      trackingNumber: label.trackingNumber,
      carrier: label.carrier,
      externalId: label.externalId,
      provider: carrier.name,
      ownAccount: account.isOwn,
      labelUrl: `${settings.PUBLIC_URL?.replace(/\/+$/, '') ?? ''}/v1/shipments/${shipmentId}/label`,
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    const print = async () => label.pdf ?? carrier.printLabel(request, label, AbortSignal.timeout(deadlineMs));
    return { made, storePdf: () => putPdf(settings.LABELS, pdfKey(context, tenant, shipmentId), print) };
  } catch (error) {
    const isCarrierError = error instanceof CarrierError;
    const reason = isCarrierError ? error.message : `unexpected ${error instanceof Error ? error.name : 'error'}`;
    const permanent = isCarrierError && error.permanent;
    return { failed: { orderId, shipmentId, ...(lease !== undefined && { lease }), reason, permanent }, error };
  }
}

/**
 * Records the results of label attempts and stores the PDFs. `maxFailures`: after this many in a row a label is given
 * up.
 */
export async function recordLabels(context: Context, tenant: string, attempts: Attempt[], maxFailures?: number) {
  // Called as the tenant, without a key. Recording twice changes nothing, so the call may be repeated after a lost
  // response.
  const { keyHash: _keyHash, idempotencyKey: _idempotencyKey, requestHash: _requestHash, ...call } = context.call;
  const { shipments: recorded } = await runLast<{ shipments: Record<string, 'made' | 'refused' | 'open'> }>(
    context,
    'shipping.record_labels',
    call,
    {
      tenant,
      most: maxFailures,
      results: attempts.map((attempt) => attempt.made ?? attempt.failed),
    },
  );
  const madeAttempts = attempts.filter(({ made }) => made && recorded[made.shipmentId] === 'made');
  await Promise.all(madeAttempts.map((attempt) => attempt.made && attempt.storePdf()));
  return recorded;
}

/**
 * Makes the labels that these events request: two database calls a batch, with the carrier calls between them. A
 * redelivery makes only what is missing. An order without an address waits for one. An ended order gets no label. An
 * event may request labels for several parcels of its order.
 * @returns for each event whose label was not made: the reason, by event id. `permanent`: the label was given up
 * @throws any error that is not the carrier's, after every result is recorded
 */
export async function makeLabels(context: Context, tenant: string, events: Event[]): Promise<Map<string, Failure>> {
  const messages = events.map((event) => ({ ...toMessage(event), shipmentId: newId(context.now()) }));
  const { tasks, busy } = await context.db.run<{ tasks: Task[]; busy: string[] }>(
    'shipping.open_labels',
    context.call,
    { tenant, messages, ...labelSettings(context.settings) },
  );
  const failures = new Map<string, Failure>();
  const fail = (orderId: string, failure: Failure) => {
    for (const event of events) if (event.subject === orderId) failures.set(event.id, failure);
  };
  for (const orderId of busy) fail(orderId, { reason: 'Another request is making this label.', permanent: false });
  if (tasks.length === 0) return failures;
  const attempts = await Promise.all(tasks.map((task) => attemptLabel(context, tenant, task)));
  const recorded = await recordLabels(context, tenant, attempts, maxAttempts);
  for (const attempt of attempts) {
    if (attempt.made) continue;
    const { failed, error } = attempt;
    if (!(error instanceof CarrierError)) throw error;
    const status = recorded[failed.shipmentId];
    if (status) fail(failed.orderId, { reason: failed.reason, permanent: status === 'refused' });
  }
  return failures;
}

/** Deletes the stored labels of erased customers. Their addresses are erased already, so no label is made again. */
export async function deleteLabels(context: Context, tenant: string, customers: string[]): Promise<void> {
  const { shipments } = await context.db.run<{ shipments: string[] }>('shipping.find_erased_labels', context.call, {
    tenant,
    customers,
  });
  const { LABELS: bucket } = context.settings;
  const files = shipments.map((shipmentId) => pdfKey(context, tenant, shipmentId));
  // R2 deletes 1,000 files at most in a call.
  for (let start = 0; start < files.length; start += 1_000) await bucket?.delete(files.slice(start, start + 1_000));
}

/**
 * Cron job: emits a new event for each label that nobody has tried to make for 15 minutes. Its message must be lost.
 */
export const remindLabels = (context: Context): Promise<{ reminded: number }> =>
  context.db.run('shipping.remind_labels', context.call, {
    idleSeconds: lostAfterSeconds,
    limit: 200,
    most: maxAttempts,
  });

/**
 * Reads a shipment's printable label (PDF), in one database call. If the file is not stored, it is drawn or downloaded
 * again.
 * @throws ApiError not_found, conflict (it was cancelled with its order), unavailable (the carrier is unavailable, or
 * the tenant's key for it)
 */
export async function readLabel(context: Context, shipmentId: string) {
  const { LABELS: bucket } = context.settings;
  const { tenant, rows } = await context.db.read(context.call, 'shipping:read', (db) => labelById(db, shipmentId));
  const [label] = rows;
  if (!label) throw new ApiError('not_found');
  const { task, account, carrier, trackingNumber, externalId, cancelledAt } = label;
  if (cancelledAt) throw new ApiError('conflict', 'The label was cancelled with its order. Do not ship with it.');
  if (!task) throw new ApiError('not_found');
  if (!('line1' in task.to)) throw new ApiError('conflict', 'The customer was erased, and the address with it.');
  const file = pdfKey(context, tenant, shipmentId);
  const stored = await bucket?.get(file).catch(() => null);
  if (stored) return { pdf: new Uint8Array(await stored.arrayBuffer()), trackingNumber, tenant };
  try {
    const printedLabel = { trackingNumber, carrier, externalId: externalId ?? undefined };
    const printer = await openCarrier(context.settings, tenant, account);
    const pdf = await printer.printLabel(toRequest(task), printedLabel, AbortSignal.timeout(deadlineMs));
    await putPdf(bucket, file, async () => pdf);
    return { pdf, trackingNumber, tenant };
  } catch (error) {
    if (!(error instanceof CarrierError)) throw error;
    if (isAboutCredentials(error)) throw new ApiError('unavailable', error.message);
    throw new ApiError('unavailable', 'The carrier is unavailable. Try again later.');
  }
}
