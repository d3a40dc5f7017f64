import { Buffer } from 'node:buffer';
import { newId } from '../../../base/ids.ts';
import { type ConsumedRecord, type ConsumerSettings, callBroker, type KafkaConsumer } from './consumer.ts';

const json = { 'content-type': 'application/vnd.kafka.v2+json', accept: 'application/vnd.kafka.v2+json' };
const binary = { accept: 'application/vnd.kafka.binary.v2+json' };

type Record64 = Omit<ConsumedRecord, 'headers'> & { headers?: { key: string; value: string | null }[] };

const decodeBase64 = (bytes: string | null | undefined): string | null =>
  bytes === null || bytes === undefined ? null : Buffer.from(bytes, 'base64').toString('utf8');

/**
 * A consumer of REST v2 (Strimzi Kafka Bridge, Redpanda HTTP Proxy, Karapace, Confluent REST Proxy). The instance
 * exists until `close`; if the Worker dies, the server removes it after some minutes. Only Strimzi returns headers, so
 * with other servers events must be structured. `commit` names no offsets, since servers disagree on whether an offset
 * is the last record that was read or the next one.
 */
export async function restV2Consumer(settings: ConsumerSettings): Promise<KafkaConsumer> {
  const group = `/consumers/${encodeURIComponent(settings.group)}`;
  const name = `worker-${newId(new Date())}`;
  const options = { name, format: 'binary', 'auto.offset.reset': 'earliest', 'enable.auto.commit': false };
  // Confluent accepts only strings for booleans; the others accept both.
  await callBroker(settings, { method: 'POST', path: group, headers: json, body: options });
  const path = `${group}/instances/${name}`;
  const close = () =>
    callBroker(settings, { method: 'DELETE', path, headers: json }).then(
      () => undefined,
      () => undefined,
    );
  try {
    const body = { topics: settings.topics };
    await callBroker(settings, { method: 'POST', path: `${path}/subscription`, headers: json, body });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    async poll(waitMs) {
      const records = await callBroker(settings, {
        method: 'GET',
        path: `${path}/records?timeout=${waitMs}`,
        headers: binary,
        waitMs,
      });
      return ((records ?? []) as Record64[]).map(({ key, value, headers, ...record }) => ({
        ...record,
        key: decodeBase64(key),
        value: decodeBase64(value),
        headers: Object.fromEntries((headers ?? []).map((header) => [header.key, decodeBase64(header.value) ?? ''])),
      }));
    },
    async commit() {
      await callBroker(settings, { method: 'POST', path: `${path}/offsets`, headers: json });
    },
    close,
  };
}
