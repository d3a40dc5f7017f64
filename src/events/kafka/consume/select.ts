import type { Settings } from '../../../env.ts';
import { restSettings } from '../publish/select.ts';
import type { KafkaConsumer } from './consumer.ts';
import { restV2Consumer } from './rest-v2.ts';
import { upstashConsumer } from './upstash.ts';

/** The consumer group that every Worker joins. Kafka forgets a group's offsets some days after its last activity. */
const group = 'fusioncommerce';

/**
 * Makes a member of our consumer group in the dialect of `KAFKA_REST_DIALECT`.
 * @throws KafkaUnavailable, Error (a dialect without consumers, which the settings do not allow)
 */
export async function selectConsumer(settings: Settings): Promise<KafkaConsumer> {
  const options = {
    ...restSettings(settings),
    group,
    topics: settings.KAFKA_CONSUME.map((entry) => entry.split('=')[0] ?? entry),
  };
  switch (settings.KAFKA_REST_DIALECT) {
    case 'upstash':
      return upstashConsumer(options);
    case 'rest-v2':
      return restV2Consumer(options);
    default:
      throw new Error(`${settings.KAFKA_REST_DIALECT} cannot consume: let a connector push to /webhooks/kafka`);
  }
}
