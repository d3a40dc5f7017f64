import { Kafka, UpstashError } from '@upstash/kafka';
import { isPermanent } from '../http.ts';
import { type KafkaRecord, KafkaUnavailable, type Published, type Publisher } from './publisher.ts';

const defaultDeadlineMs = 8_000;

/** About a record these say that its topic is missing; of all records of a request, that no such API is there. */
const missing = new Set([404, 405]);

type Http = { post(request: { path: string[]; body?: unknown; retries?: number }): Promise<unknown> };

/** What a batch answers for each record; one that was refused has an error in place of its offset. */
type Item = { offset?: number; error?: string; status?: number };

/** `alone`: the status of the request, not of an item in its answer. */
type Answer = Published & { alone?: number };

const refused = (record: KafkaRecord, status: number, error: string): Answer => ({
  ok: false,
  permanent: isPermanent(status),
  reason: `${record.topic}: ${error}`.slice(0, 300),
});

const within = <T>(work: Promise<T>, until: number, deadlineMs: number): Promise<T> => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new KafkaUnavailable(`no answer in ${deadlineMs} ms`)), until - Date.now());
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
};

/**
 * Upstash's REST dialect, by its own client. The client has no deadline and repeats everything six times over 15 s,
 * what was refused for good too; a repetition behind our back could overtake later records, so it is told to try once.
 */
export function upstashPublisher(settings: {
  url: string;
  username: string;
  password: string;
  /** For all requests of a batch together; 8,000 if not given. */
  deadlineMs?: number;
}): Publisher {
  const kafka = new Kafka(settings);
  const http: Http = Reflect.get(kafka, 'client');
  const post = http.post.bind(http);
  http.post = (request) => post({ ...request, retries: 0 });
  const producer = kafka.producer();
  const { deadlineMs = defaultDeadlineMs } = settings;

  async function produce(records: KafkaRecord[], until: number): Promise<Answer[]> {
    if (Date.now() >= until) throw new KafkaUnavailable('no time was left for this record');
    const requests = records.map((record) => ({
      topic: record.topic,
      key: record.key,
      value: record.value,
      headers: Object.entries(record.headers).map(([key, value]) => ({ key, value })),
    }));
    const items: Item[] = await within(producer.produceMany(requests), until, deadlineMs);
    if (!Array.isArray(items) || items.length !== records.length)
      throw new KafkaUnavailable('an answer of another length');
    return records.map((record, index): Answer => {
      const { offset, error, status } = items[index] ?? {};
      if (error === undefined && offset !== undefined) return { ok: true };
      return refused(record, status ?? 0, error ?? 'no offset in the answer');
    });
  }

  /**
   * Also answers for each record when a request was refused as a whole, for good: halves show which one is at fault.
   * Once the time of the batch is over, the records that were not sent are answered so: a later turn sends them.
   */
  async function produceInHalves(records: KafkaRecord[], until: number, isPart: boolean): Promise<Answer[]> {
    try {
      return await produce(records, until);
    } catch (error) {
      if (error instanceof KafkaUnavailable) {
        if (!isPart) throw error;
        return records.map(({ topic }) => ({ ok: false, permanent: false, reason: `${topic}: ${error.message}` }));
      }
      if (!(error instanceof UpstashError)) throw new KafkaUnavailable('no answer that can be understood');
      if (!isPermanent(error.status)) throw new KafkaUnavailable(`${error.status}: ${error.error}`);
      const [first, second] = records;
      if (first && !second) return [{ ...refused(first, error.status, error.error), alone: error.status }];
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
      const answers = await produceInHalves(records, until, false);
      if (answers.every(({ alone }) => alone !== undefined && missing.has(alone))) {
        throw new KafkaUnavailable('no Kafka REST API at this address');
      }
      return answers;
    },
  };
}
