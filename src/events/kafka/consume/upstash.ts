import { newId } from '../../../base/ids.ts';
import { ask, type Consumed, type ConsumerSettings, type KafkaConsumer } from './consumer.ts';

type Listed = Omit<Consumed, 'headers'> & { headers: { key: string; value: string }[] };

/** Upstash's consumer groups. The instance is made by its first poll. */
export function upstashConsumer(settings: ConsumerSettings): KafkaConsumer {
  const name = `worker-${newId(new Date())}`;
  const place = `${encodeURIComponent(settings.group)}/${name}`;
  return {
    async poll(waitMs) {
      const headers = {
        'content-type': 'application/json',
        'kafka-enable-auto-commit': 'false',
        'kafka-auto-offset-reset': 'earliest',
      };
      const body = { topics: settings.topics, timeout: waitMs };
      const records = await ask(settings, { method: 'POST', path: `/consume/${place}`, headers, body, waitMs });
      return (records as Listed[]).map((record) => ({
        ...record,
        headers: Object.fromEntries(record.headers.map(({ key, value }) => [key, value])),
      }));
    },
    async commit() {
      await ask(settings, { method: 'POST', path: `/commit/${place}` });
    },
    close: () =>
      ask(settings, { method: 'POST', path: `/delete-consumer/${place}` }).then(
        () => undefined,
        () => undefined,
      ),
  };
}
