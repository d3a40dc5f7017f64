import { Kafka, UpstashError } from '@upstash/kafka';
import { isPermanent } from '../http.ts';
import { type KafkaRecord, KafkaUnavailable, type Published, type Publisher } from './publisher.ts';

const defaultDeadlineMs = 8_000;

/** If one record is rejected with these, its topic is missing. If every record is, this address has no such API. */
const missingStatuses = new Set([404, 405]);

type Http = { post(request: { path: string[]; body?: unknown; retries?: number }): Promise<unknown> };

/** The result of each record of a batch. A rejected record has an error instead of its offset. */
type Item = { offset?: number; error?: string; status?: number };

/** `requestStatus`: the status of the whole request, if it was rejected for this record. */
type UpstashResult = Published & { requestStatus?: number };

const rejected = (record: KafkaRecord, status: number, error: string): UpstashResult => ({
  ok: false,
  permanent: isPermanent(status),
  reason: `${record.topic}: ${error}`.slice(0, 300),
});

const withDeadline = <T>(work: Promise<T>, until: number, deadlineMs: number): Promise<T> => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new KafkaUnavailable(`no response in ${deadlineMs} ms`)), until - Date.now());
  });
  return Promise.race([work, timeout]).finally(() => clearTimeout(timer));
};

/**
 * A publisher of Upstash's REST dialect, with its own client. The client has no deadline and retries every error six
 * times over 15 s, permanent ones too. A hidden retry could overtake later records, so its retries are off.
 */
export function upstashPublisher(settings: {
  url: string;
  username: string;
  password: string;
  /** The deadline of all requests of a batch together, in milliseconds. Default: 8,000. */
  deadlineMs?: number;
}): Publisher {
  const kafka = new Kafka(settings);
  const http: Http = Reflect.get(kafka, 'client');
  const post = http.post.bind(http);
  http.post = (request) => post({ ...request, retries: 0 });
  const producer = kafka.producer();
  const { deadlineMs = defaultDeadlineMs } = settings;

  async function produce(records: KafkaRecord[], until: number): Promise<UpstashResult[]> {
    if (Date.now() >= until) throw new KafkaUnavailable('no time was left for this record');
    const requests = records.map((record) => ({
      topic: record.topic,
      key: record.key,
      value: record.value,
      headers: Object.entries(record.headers).map(([key, value]) => ({ key, value })),
    }));
    const items: Item[] = await withDeadline(producer.produceMany(requests), until, deadlineMs);
    if (!Array.isArray(items) || items.length !== records.length)
      throw new KafkaUnavailable('the response has a different number of results');
    return records.map((record, index): UpstashResult => {
      const { offset, error, status } = items[index] ?? {};
      if (error === undefined && offset !== undefined) return { ok: true };
      return rejected(record, status ?? 0, error ?? 'no offset in the response');
    });
  }

  /**
   * If a request is permanently rejected as a whole, sends its halves, to find the record at fault. Records that were
   * not sent before the deadline fail temporarily: a later relay run sends them.
   */
  async function produceInHalves(records: KafkaRecord[], until: number, isPart: boolean): Promise<UpstashResult[]> {
    try {
      return await produce(records, until);
    } catch (error) {
      if (error instanceof KafkaUnavailable) {
        if (!isPart) throw error;
        return records.map(({ topic }) => ({ ok: false, permanent: false, reason: `${topic}: ${error.message}` }));
      }
      if (!(error instanceof UpstashError)) throw new KafkaUnavailable('the response is not valid');
      if (!isPermanent(error.status)) throw new KafkaUnavailable(`${error.status}: ${error.error}`);
      const [first, second] = records;
      if (first && !second) return [{ ...rejected(first, error.status, error.error), requestStatus: error.status }];
      const middle = Math.ceil(records.length / 2);
      return [
        ...(await produceInHalves(records.slice(0, middle), until, true)),
        ...(await produceInHalves(records.slice(middle), until, true)),
      ];
    }
  }

  return {
    async publish(records) {
      const until = Date.now() + deadlineMs;
      const results = await produceInHalves(records, until, false);
      if (results.every(({ requestStatus }) => requestStatus !== undefined && missingStatuses.has(requestStatus))) {
        throw new KafkaUnavailable('no Kafka REST API at this address');
      }
      return results;
    },
  };
}
