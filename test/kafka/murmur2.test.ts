import fc from 'fast-check';
import { Partitioners } from 'kafkajs';
import { expect, test } from 'vitest';
import { murmur2, partitionForKey } from '../../dev/kafka/murmur2.ts';

/** From Apache Kafka's `UtilsTest.testMurmur2`. */
const KAFKA_VECTORS: [string, number][] = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
];

test.each(KAFKA_VECTORS)('%s has the same hash as in Kafka’s own tests', (text, hash) => {
  expect(murmur2(Buffer.from(text))).toBe(hash);
});

test('a key has the same partition as with the default partitioner of kafkajs', () => {
  const partitioner = Partitioners.DefaultPartitioner();
  const byKafkajs = (key: string, partitions: number) =>
    partitioner({
      topic: 't',
      partitionMetadata: Array.from({ length: partitions }, (_, partitionId) => ({
        ...{ partitionErrorCode: 0, partitionId, leader: 0, replicas: [], isr: [], offlineReplicas: [] },
      })),
      message: { key, value: null },
    });
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), fc.integer({ min: 1, max: 200 }), (key, partitions) => {
      expect(partitionForKey(key, partitions)).toBe(byKafkajs(key, partitions));
    }),
    { seed: 20260101, numRuns: 2000 },
  );
});
