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
import { splitJsonObjects } from '../json-texts.ts';
import { publishParts, type RecordResult, type Server } from './parts.ts';
import { type KafkaRecord, KafkaUnavailable, type Publisher } from './publisher.ts';

type Report = { error_code?: number; message?: string; offset?: number };
type TopicList = { data?: { topic_name?: string }[]; metadata?: { next?: string | null } };

/** The key's bytes are its text, so it is hashed like any other producer's. The value's bytes stay exactly ours. */
const toJson = ({ key, value, headers }: KafkaRecord): string =>
  JSON.stringify({
    headers: Object.entries(headers).map(([name, text]) => ({ name, value: base64(text) })),
    key: { type: 'STRING', data: key },
    value: { type: 'BINARY', data: base64(value) },
  });

/** The HTTP status in an error code: 40403 is a kind of 404. A plain status occurs too. */
const statusOf = (code: number): number => (code > 999 ? Math.floor(code / 100) : code);

function toResult({ topic }: KafkaRecord, report: Report): RecordResult {
  const { error_code: code = 200, message = `error ${code}` } = report;
  if (code === 200 && report.offset !== undefined) return { ok: true };
  const status = statusOf(code);
  const reason = `${topic}: ${code}: ${message}`.slice(0, 300);
  if (status === 404 || reportsMissingTopic(message)) return { ok: false, permanent: true, reason, missing: true };
  return { ok: false, permanent: isPermanent(status), reason, ...(status >= 500 && { outage: `${code}: ${message}` }) };
}

/** Reads until the end or until the connection breaks: reports that arrived before that are valid. */
async function readAll(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  try {
    for await (const bytes of response.body ?? []) text += decoder.decode(bytes, { stream: true });
  } catch {
    if (text === '') throw new KafkaUnavailable('no response before the connection broke');
  }
  return text;
}

/**
 * A publisher of Confluent's REST v3: Confluent Cloud, Confluent Server, REST Proxy from 7.0. A request holds many
 * records as concatenated JSON. The response is a stream of delivery reports in the same order, each with an
 * `error_code`: 200 if the record was accepted. `url` is the part before `/v3`; at Confluent Cloud it ends in `/kafka`.
 */
export function confluentPublisher(settings: RestSettings & { clusterId: string }): Publisher {
  const rest = openRest(settings);
  const topics = `/v3/clusters/${encodeURIComponent(settings.clusterId)}/topics`;

  async function send(topic: string, records: KafkaRecord[]): Promise<RecordResult[]> {
    const text = records.map(toJson).join('\n');
    const path = `${topics}/${encodeURIComponent(topic)}/records`;
    const response = await rest('POST', path, { type: 'application/json', text });
    if (!response.ok) throwErrorResponse(response.status, await readText(response));
    let reports: Report[];
    try {
      reports = splitJsonObjects(await readAll(response)) as Report[];
    } catch (error) {
      if (error instanceof KafkaUnavailable) throw error;
      throw new KafkaUnavailable('the response is not JSON');
    }
    if (reports.length === 0) throw new KafkaUnavailable('the response has no delivery report');
    return records.map((record, index) => {
      const report = reports[index];
      if (report) return toResult(record, report);
      return { ok: false, permanent: false, reason: `${record.topic}: no report of this record` };
    });
  }

  async function listTopics(): Promise<Set<string>> {
    const response = await rest('GET', topics);
    if (!response.ok) throw new KafkaUnavailable(`${response.status} for the list of topics`);
    const { data, metadata } = parseJson(await readText(response)) as TopicList;
    if (!Array.isArray(data) || metadata?.next) throw new KafkaUnavailable('the list of topics is incomplete');
    return new Set(data.map(({ topic_name: name = '' }) => name));
  }

  const server: Server = { sizeOf: (record) => Buffer.byteLength(toJson(record)) + 1, send, listTopics };
  return { publish: (records) => publishParts(server, records, settings.deadlineMs ?? 8_000) };
}
