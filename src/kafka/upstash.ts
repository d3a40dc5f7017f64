import { Kafka, UpstashError } from '@upstash/kafka';
import { KafkaAway, type KafkaRecord, type Published, type Publisher } from './publisher.ts';

const deadlineMs = 8_000;

/** 4xx is about what was sent; these are about when, or about who we are: they pass, or an operator mends them. */
const passing = new Set([401, 403, 408, 425, 429]);
const isPermanent = (status: number) => status >= 400 && status < 500 && !passing.has(status);

type Http = { post(request: { path: string[]; body?: unknown; retries?: number }): Promise<unknown> };

/** What a batch answers for each record; one that was refused has an error in place of its offset. */
type Item = { offset?: number; error?: string; status?: number };

const within = <T>(work: Promise<T>, milliseconds: number): Promise<T> => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new KafkaAway(`no answer in ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
};

/**
 * Upstash's REST dialect, by its own client. The client has no deadline and repeats everything six times over 15 s, what
 * was refused for good too; a repetition behind our back could overtake later records, so it is told to try once.
 */
export function upstashPublisher(settings: { url: string; username: string; password: string }): Publisher {
  const kafka = new Kafka(settings);
  const http: Http = Reflect.get(kafka, 'client');
  const post = http.post.bind(http);
  http.post = (request) => post({ ...request, retries: 0 });
  const producer = kafka.producer();

  async function produce(records: KafkaRecord[]): Promise<Published[]> {
    const requests = records.map((record) => ({
      topic: record.topic,
      key: record.key,
      value: record.value,
      headers: Object.entries(record.headers).map(([key, value]) => ({ key, value })),
    }));
    const items: Item[] = await within(producer.produceMany(requests), deadlineMs);
    if (!Array.isArray(items) || items.length !== records.length) throw new KafkaAway('an answer of another length');
    return items.map((item) =>
      item.error === undefined && item.offset !== undefined
        ? { ok: true }
        : { ok: false, permanent: isPermanent(item.status ?? 0), reason: item.error ?? 'no offset in the answer' },
    );
  }

  return {
    async publish(records) {
      try {
        return await produce(records);
      } catch (error) {
        if (error instanceof KafkaAway) throw error;
        if (!(error instanceof UpstashError)) throw new KafkaAway('no answer that can be understood');
        if (!isPermanent(error.status)) throw new KafkaAway(`${error.status}: ${error.error}`);
        // The batch was refused as a whole, for good: one of its records is at fault, and alone it shows itself.
        const [only] = records;
        if (records.length === 1 && only) {
          return [{ ok: false, permanent: true, reason: `${only.topic}: ${error.error}` }];
        }
        const answers: Published[] = [];
        for (const record of records) answers.push(...(await this.publish([record])));
        return answers;
      }
    },
  };
}
