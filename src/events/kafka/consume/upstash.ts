import { newId } from '../../../base/ids.ts';
import { type ConsumedRecord, type ConsumerSettings, callBroker, type KafkaConsumer } from './consumer.ts';

type UpstashRecord = Omit<ConsumedRecord, 'headers'> & { headers: { key: string; value: string }[] };

/** A consumer of Upstash. The first poll creates the instance. */
export function upstashConsumer(settings: ConsumerSettings): KafkaConsumer {
  const name = `worker-${newId(new Date())}`;
  const instancePath = `${encodeURIComponent(settings.group)}/${name}`;
  return {
    async poll(waitMs) {
      const headers = {
        'content-type': 'application/json',
        'kafka-enable-auto-commit': 'false',
        'kafka-auto-offset-reset': 'earliest',
      };
      const body = { topics: settings.topics, timeout: waitMs };
      const records = await callBroker(settings, {
        method: 'POST',
        path: `/consume/${instancePath}`,
        headers,
        body,
        waitMs,
      });
      return (records as UpstashRecord[]).map((record) => ({
        ...record,
        headers: Object.fromEntries(record.headers.map(({ key, value }) => [key, value])),
      }));
    },
    async commit() {
      await callBroker(settings, { method: 'POST', path: `/commit/${instancePath}` });
    },
    close: () =>
      callBroker(settings, { method: 'POST', path: `/delete-consumer/${instancePath}` }).then(
        () => undefined,
        () => undefined,
      ),
  };
}
