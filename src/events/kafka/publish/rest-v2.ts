import { Buffer } from 'node:buffer';
import {
  base64,
  isPermanent,
  openRest,
  parseJson,
  type RestSettings,
  readText,
  reportsMissingTopic,
  throwErrorResponse,
} from '../http.ts';
import { publishParts, type RecordResult, type Server } from './parts.ts';
import { type KafkaRecord, KafkaUnavailable, type Publisher } from './publisher.ts';
import { structuredValue } from './structured.ts';

/** The result of a record (at Redpanda: of a partition's records). Strimzi says `message`, Karapace `error`. */
type Outcome = { offset?: number; error_code?: number | null; error?: string | null; message?: string };

/** Kafka's own error codes, which Redpanda returns, for errors that no retry can fix: kafka.apache.org/protocol. */
const permanentErrors = new Map([
  [3, 'unknown topic or partition'],
  [10, 'message too large'],
  [17, 'invalid topic'],
  [18, 'record list too large'],
  [87, 'invalid record'],
]);
/** Strimzi's 500 and Karapace's 1 can mean anything. For an oversized record they quote Kafka's message. */
const tooLarge = /larger than|too large/i;

function toResult(topic: string, outcome: Outcome): RecordResult {
  const { error_code: code, error, message } = outcome;
  if ((code ?? 0) === 0 && !error && outcome.offset !== undefined && outcome.offset >= 0) return { ok: true };
  const status = code === 0 || code === undefined || code === null ? 0 : code;
  const reasonText = message ?? error ?? permanentErrors.get(status) ?? 'it was not accepted';
  const reason = `${topic}: ${status}: ${reasonText}`.slice(0, 300);
  if (status === 404 || status === 3 || reportsMissingTopic(reasonText)) {
    return { ok: false, permanent: true, reason, missing: true };
  }
  const permanent = isPermanent(status) || permanentErrors.has(status) || tooLarge.test(reasonText);
  return { ok: false, permanent, reason, ...(!permanent && { outage: `${status}: ${reasonText}` }) };
}

function outcomesIn(text: string): Outcome[] | undefined {
  const { offsets } = (parseJson(text) ?? {}) as { offsets?: Outcome[] };
  return Array.isArray(offsets) && offsets.length > 0 ? offsets : undefined;
}

/**
 * A publisher of REST v2: Strimzi's bridge, Redpanda's HTTP proxy, Karapace. Keys and values are sent as base64
 * (`binary`). In `json` mode a key would be stored with its quotes, so it would be in another partition than the same
 * key of another producer. `headers`: whether records can have headers (Strimzi from 0.31, Karapace from 6.2.3; both
 * report failures in the records' order). Without headers, values are in CloudEvents' structured mode, and a request
 * that failed in part is sent in halves, because Redpanda reports by partition, in any order.
 */
export function restV2Publisher(settings: RestSettings & { headers: boolean }): Publisher {
  const rest = openRest(settings);

  const toJson = (record: KafkaRecord): string =>
    JSON.stringify({
      key: base64(record.key),
      value: base64(settings.headers ? record.value : structuredValue(record)),
      ...(settings.headers && {
        headers: Object.entries(record.headers).map(([key, text]) => ({ key, value: base64(text) })),
      }),
    });

  /** Whether a request whose records had headers was ever accepted. */
  let headersAccepted = false;

  const post = (topic: string, records: KafkaRecord[]): Promise<Response> => {
    const text = `{"records":[${records.map(toJson).join(',')}]}`;
    return rest('POST', `/topics/${encodeURIComponent(topic)}`, { type: 'application/vnd.kafka.binary.v2+json', text });
  };

  async function send(topic: string, records: KafkaRecord[]): Promise<RecordResult[] | undefined> {
    const response = await post(topic, records);
    const responseText = await readText(response);
    const outcomes = response.ok || response.status === 422 ? outcomesIn(responseText) : undefined;
    if (!outcomes) {
      if (response.ok) throw new KafkaUnavailable('the response has no results');
      if (settings.headers && !headersAccepted && [400, 422].includes(response.status))
        await checkHeaders(topic, records);
      throwErrorResponse(response.status, responseText);
    }
    headersAccepted = true;
    const results = outcomes.map((outcome) => toResult(topic, outcome));
    const isComplete = results.length === records.length;
    if (results.every(({ ok }) => ok) && (isComplete || !settings.headers)) return records.map(() => ({ ok: true }));
    return isComplete && (settings.headers || records.length === 1) ? results : undefined;
  }

  /**
   * A server that does not support headers rejects every request that has some, and no record may become dead because
   * of that. Strimzi supports them. Any other server has to accept the first or the last of these records.
   */
  async function checkHeaders(topic: string, records: KafkaRecord[]): Promise<void> {
    const serverInfo = await readText(await rest('GET', '/'));
    if (serverInfo.includes('"bridge_version"')) return;
    for (const probe of records.length > 1 ? [records[0], records.at(-1)] : []) {
      const response = probe && (await post(topic, [probe]));
      if (response) await readText(response);
      if (response?.ok) headersAccepted = true;
    }
    if (!headersAccepted)
      throw new KafkaUnavailable(
        'no record with headers was accepted. If this server does not support headers, set KAFKA_REST_HEADERS to false',
      );
  }

  async function listTopics(): Promise<Set<string>> {
    const response = await rest('GET', '/topics');
    if (!response.ok) throw new KafkaUnavailable(`${response.status} for the list of topics`);
    const names = parseJson(await readText(response));
    if (!Array.isArray(names)) throw new KafkaUnavailable('the response is not a list of topics');
    return new Set(names.map(String));
  }

  const server: Server = { sizeOf: (record) => Buffer.byteLength(toJson(record)) + 1, send, listTopics };
  return { publish: (records) => publishParts(server, records, settings.deadlineMs ?? 8_000) };
}
