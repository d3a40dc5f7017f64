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
import { type Answer, publishParts, type Server } from './parts.ts';
import { type KafkaRecord, KafkaUnavailable, type Publisher } from './publisher.ts';
import { structuredValue } from './structured.ts';

/** What became of a record; at Redpanda, of the records of a partition. Strimzi says `message`, Karapace `error`. */
type Outcome = { offset?: number; error_code?: number | null; error?: string | null; message?: string };

/** Kafka's own error codes, which Redpanda answers, and which no repetition helps: kafka.apache.org/protocol. */
const permanentErrors = new Map([
  [3, 'unknown topic or partition'],
  [10, 'message too large'],
  [17, 'invalid topic'],
  [18, 'record list too large'],
  [87, 'invalid record'],
]);
/** Strimzi's 500 and Karapace's 1 stand for anything; of a record's size they speak in Kafka's words. */
const tooLarge = /larger than|too large/i;

function answerOf(topic: string, outcome: Outcome): Answer {
  const { error_code: code, error, message } = outcome;
  if ((code ?? 0) === 0 && !error && outcome.offset !== undefined && outcome.offset >= 0) return { ok: true };
  const known = code === 0 || code === undefined || code === null ? 0 : code;
  const said = message ?? error ?? permanentErrors.get(known) ?? 'it was not accepted';
  const reason = `${topic}: ${known}: ${said}`.slice(0, 300);
  if (known === 404 || known === 3 || reportsMissingTopic(said)) {
    return { ok: false, permanent: true, reason, missing: true };
  }
  const permanent = isPermanent(known) || permanentErrors.has(known) || tooLarge.test(said);
  return { ok: false, permanent, reason, ...(!permanent && { away: `${known}: ${said}` }) };
}

function outcomesIn(text: string): Outcome[] | undefined {
  const { offsets } = (parseJson(text) ?? {}) as { offsets?: Outcome[] };
  return Array.isArray(offsets) && offsets.length > 0 ? offsets : undefined;
}

/**
 * REST v2: Strimzi's bridge, Redpanda's HTTP proxy, Karapace. Keys and values go as base64 (`binary`): in `json` mode a
 * key is stored with its quotes, and hashes to another partition than that of any other producer. `headers`: whether
 * records have headers there: Strimzi's from 0.31, Karapace's from 6.2.3; both tell failures in the records' order.
 * Where they have none, values are in CloudEvents' structured mode, and a request that failed in part is sent in
 * halves, for Redpanda answers by partition, in any order.
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
  let taken = false;

  const post = (topic: string, records: KafkaRecord[]): Promise<Response> => {
    const text = `{"records":[${records.map(toJson).join(',')}]}`;
    return rest('POST', `/topics/${encodeURIComponent(topic)}`, { type: 'application/vnd.kafka.binary.v2+json', text });
  };

  async function send(topic: string, records: KafkaRecord[]): Promise<Answer[] | undefined> {
    const response = await post(topic, records);
    const said = await readText(response);
    const outcomes = response.ok || response.status === 422 ? outcomesIn(said) : undefined;
    if (!outcomes) {
      if (response.ok) throw new KafkaUnavailable('an answer that cannot be understood');
      if (settings.headers && !taken && [400, 422].includes(response.status)) await checkHeaders(topic, records);
      throwErrorResponse(response.status, said);
    }
    taken = true;
    const answers = outcomes.map((outcome) => answerOf(topic, outcome));
    const whole = answers.length === records.length;
    if (answers.every(({ ok }) => ok) && (whole || !settings.headers)) return records.map(() => ({ ok: true }));
    return whole && (settings.headers || records.length === 1) ? answers : undefined;
  }

  /**
   * A server that takes no headers refuses every request that has some; no record is to die of that. Strimzi takes
   * them; another has to show it with the first of these records, or the last.
   */
  async function checkHeaders(topic: string, records: KafkaRecord[]): Promise<void> {
    const about = await readText(await rest('GET', '/'));
    if (about.includes('"bridge_version"')) return;
    for (const one of records.length > 1 ? [records[0], records.at(-1)] : []) {
      const response = one && (await post(topic, [one]));
      if (response) await readText(response);
      if (response?.ok) taken = true;
    }
    if (!taken) throw new KafkaUnavailable('does this server take headers? If not, KAFKA_REST_HEADERS is to be false');
  }

  async function listTopics(): Promise<Set<string>> {
    const response = await rest('GET', '/topics');
    if (!response.ok) throw new KafkaUnavailable(`${response.status} for the list of topics`);
    const names = parseJson(await readText(response));
    if (!Array.isArray(names)) throw new KafkaUnavailable('no list of topics');
    return new Set(names.map(String));
  }

  const server: Server = { sizeOf: (record) => Buffer.byteLength(toJson(record)) + 1, send, listTopics };
  return { publish: (records) => publishParts(server, records, settings.deadlineMs ?? 8_000) };
}
