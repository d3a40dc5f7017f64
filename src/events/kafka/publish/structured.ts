import type { KafkaRecord } from './publisher.ts';

/**
 * A record's value in CloudEvents' structured mode: the attributes, and the payload as `data`. For brokers whose HTTP
 * interface has no headers. Rule: CloudEvents 1.0, Kafka protocol binding 3.3.
 */
export function structuredValue({ value, headers }: KafkaRecord): string {
  const attributes = Object.entries(headers).flatMap(([name, text]) => {
    if (name === 'content-type') return [['datacontenttype', text]];
    return name.startsWith('ce_') ? [[name.slice(3), text]] : [];
  });
  const envelope = JSON.stringify(Object.fromEntries(attributes));
  return `${envelope.slice(0, -1)}${attributes.length > 0 ? ',' : ''}"data":${value}}`;
}
