import { Buffer } from 'node:buffer';
import { newId } from '../../../base/ids.ts';
import { ask, type Consumed, type ConsumerSettings, type KafkaConsumer } from './consumer.ts';

const json = { 'content-type': 'application/vnd.kafka.v2+json', accept: 'application/vnd.kafka.v2+json' };
const binary = { accept: 'application/vnd.kafka.binary.v2+json' };

type Record64 = Omit<Consumed, 'headers'> & { headers?: { key: string; value: string | null }[] };

const plain = (bytes: string | null | undefined): string | null =>
  bytes === null || bytes === undefined ? null : Buffer.from(bytes, 'base64').toString('utf8');

/**
 * REST v2's consumers (Strimzi Kafka Bridge, Redpanda HTTP Proxy, Karapace, Confluent REST Proxy). An instance lives
 * from here to `close`, and is forgotten by the server some minutes after a Worker that died. Only Strimzi shows
 * headers: elsewhere events have to be structured. `commit` names no offsets, since servers differ in whether such a
 * one is the last that was read or the next.
 */
export async function restV2Consumer(settings: ConsumerSettings): Promise<KafkaConsumer> {
  const group = `/consumers/${encodeURIComponent(settings.group)}`;
  const name = `worker-${newId(new Date())}`;
  const options = { name, format: 'binary', 'auto.offset.reset': 'earliest', 'enable.auto.commit': false };
  // Confluent's takes texts alone for what is true or false, the others both.
  await ask(settings, { method: 'POST', path: group, headers: json, body: options });
  const path = `${group}/instances/${name}`;
  const close = () =>
    ask(settings, { method: 'DELETE', path, headers: json }).then(
      () => undefined,
      () => undefined,
    );
  try {
    const body = { topics: settings.topics };
    await ask(settings, { method: 'POST', path: `${path}/subscription`, headers: json, body });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    async poll(waitMs) {
      const records = await ask(settings, {
        method: 'GET',
        path: `${path}/records?timeout=${waitMs}`,
        headers: binary,
        waitMs,
      });
      return ((records ?? []) as Record64[]).map(({ key, value, headers, ...record }) => ({
        ...record,
        key: plain(key),
        value: plain(value),
        headers: Object.fromEntries((headers ?? []).map((header) => [header.key, plain(header.value) ?? ''])),
      }));
    },
    async commit() {
      await ask(settings, { method: 'POST', path: `${path}/offsets`, headers: json });
    },
    close,
  };
}
