import { RequestRejected } from '../http.ts';
import { type KafkaRecord, KafkaUnavailable, type Published } from './publisher.ts';

/**
 * The server's result for a record. `missing`: its topic does not exist, which a bridge also reports when it cannot
 * know. `outage`: why the server, not the record, is at fault.
 */
export type RecordResult =
  | { ok: true }
  | { ok: false; permanent: boolean; reason: string; missing?: boolean; outage?: string };

/** One server, in its dialect. */
export type Server = {
  /** The size of a record in a request, in bytes. */
  sizeOf(record: KafkaRecord): number;
  /**
   * Sends records of one topic in one request. Returns their results in order, or undefined if the response does not
   * say which records were rejected.
   * @throws KafkaUnavailable, RequestRejected
   */
  send(topic: string, records: KafkaRecord[]): Promise<RecordResult[] | undefined>;
  /** Every topic that exists. @throws KafkaUnavailable if that cannot be determined */
  listTopics(): Promise<Set<string>>;
};

/** The limits of a request. Karapace accepts bodies of slightly more than 1 MiB, the others accept more. */
const requestLimits = { records: 500, bytes: 1_000_000 };
/** A Worker may have six connections at once. */
const maxConnections = 6;

function splitByTopic(records: KafkaRecord[], sizeOf: Server['sizeOf']): KafkaRecord[][] {
  const parts: KafkaRecord[][] = [];
  const open = new Map<string, { part: KafkaRecord[]; bytes: number }>();
  for (const record of records) {
    const bytes = sizeOf(record);
    const last = open.get(record.topic);
    if (last && last.part.length < requestLimits.records && last.bytes + bytes <= requestLimits.bytes) {
      last.part.push(record);
      last.bytes += bytes;
      continue;
    }
    const part = [record];
    parts.push(part);
    open.set(record.topic, { part, bytes });
  }
  return parts;
}

const recordReason = ({ topic }: KafkaRecord, reason: string): string => `${topic}: ${reason}`.slice(0, 300);

/** The results of each record of a failed request. Undefined if the records have to be sent separately. */
function resultsForError(error: unknown, part: KafkaRecord[]): RecordResult[] | undefined {
  if (error instanceof KafkaUnavailable) {
    // A bridge that does not find a topic stays silent for longer than our deadline, as does a gateway before it.
    const missing = /^(no response|504)/.test(error.message);
    return part.map((record) => ({
      ok: false,
      permanent: false,
      reason: recordReason(record, error.message),
      outage: error.message,
      missing,
    }));
  }
  if (!(error instanceof RequestRejected)) throw error;
  const missing = error.status === 404;
  if (part.length > 1 && !missing) return undefined;
  return part.map((record) => ({ ok: false, permanent: true, reason: recordReason(record, error.message), missing }));
}

/**
 * Publishes records of any topics to a server that accepts one topic a request. A failed request does not delay the
 * others. A request that was rejected as a whole, or in part without saying which records, is sent again in halves
 * until the rejected records are known; accepted records may be sent again then, with the same `ce_id`. No request
 * begins later than `deadlineMs` after the first one. A record counts as rejected permanently only if the server can
 * list its topics: otherwise it may not be Kafka, or only a part of it works.
 * @throws KafkaUnavailable if no record was accepted or permanently rejected, and the server was at fault
 */
export async function publishParts(server: Server, records: KafkaRecord[], deadlineMs: number): Promise<Published[]> {
  const until = Date.now() + deadlineMs;
  const results = new Map<KafkaRecord, RecordResult>();
  let topics: Promise<Set<string>> | undefined;

  async function confirm(record: KafkaRecord, result: RecordResult): Promise<RecordResult> {
    if (result.ok || !(result.permanent || result.missing)) return result;
    topics ??= server.listTopics();
    try {
      if (!(await topics).has(record.topic)) {
        return { ok: false, permanent: true, reason: recordReason(record, 'there is no such topic') };
      }
      return result.missing ? { ...result, permanent: false } : result;
    } catch (error) {
      if (!(error instanceof KafkaUnavailable)) throw error;
      return { ok: false, permanent: false, reason: recordReason(record, error.message), outage: error.message };
    }
  }

  async function sendPart(part: KafkaRecord[]): Promise<void> {
    const [first] = part;
    if (!first) return;
    let response: RecordResult[] | undefined;
    try {
      if (Date.now() >= until) throw new KafkaUnavailable('no time was left for this record');
      response = await server.send(first.topic, part);
    } catch (error) {
      response = resultsForError(error, part);
    }
    if (!response && part.length > 1) {
      const middle = Math.ceil(part.length / 2);
      await sendPart(part.slice(0, middle));
      return sendPart(part.slice(middle));
    }
    for (const [index, record] of part.entries()) {
      const result = response?.[index] ?? {
        ok: false,
        permanent: false,
        reason: recordReason(record, 'no result for it'),
      };
      results.set(record, await confirm(record, result));
    }
  }

  const waiting = splitByTopic(records, server.sizeOf);
  const sendNext = async (): Promise<void> => {
    for (let part = waiting.shift(); part; part = waiting.shift()) await sendPart(part);
  };
  await Promise.all(Array.from({ length: Math.min(maxConnections, waiting.length) }, sendNext));

  const all = records.map(
    (record): RecordResult =>
      results.get(record) ?? { ok: false, permanent: false, reason: recordReason(record, 'it was not sent') },
  );
  const outages = all.flatMap((result) => (result.ok || result.outage === undefined ? [] : [result.outage]));
  const [outage] = outages;
  if (outage !== undefined && outages.length === all.length) throw new KafkaUnavailable(outage);
  return all.map((result) => (result.ok ? result : { ok: false, permanent: result.permanent, reason: result.reason }));
}
