import type { RestSettings } from '../http.ts';
import { confluentPublisher } from './confluent.ts';
import type { Publisher } from './publisher.ts';
import { restV2Publisher } from './rest-v2.ts';
import { upstashPublisher } from './upstash.ts';

export const dialects = ['upstash', 'confluent', 'rest-v2'] as const;
export type Dialect = (typeof dialects)[number];

/** The variables for Kafka, named as in the environment. */
export type KafkaSettings = {
  KAFKA_REST_DIALECT: Dialect;
  KAFKA_REST_URL: string;
  KAFKA_REST_USERNAME?: string | undefined;
  KAFKA_REST_PASSWORD?: string | undefined;
  KAFKA_REST_TOKEN?: string | undefined;
  KAFKA_REST_CLUSTER_ID?: string | undefined;
  KAFKA_REST_HEADERS: boolean;
};

/** Kafka's URL and our credentials: a token if there is one, otherwise username and password, otherwise none. */
export function restSettings(settings: KafkaSettings): RestSettings {
  const { KAFKA_REST_URL: url, KAFKA_REST_USERNAME: username, KAFKA_REST_PASSWORD: password } = settings;
  return { url, username, password, token: settings.KAFKA_REST_TOKEN };
}

/** Returns the variable. @throws Error that names it if it is missing */
export function requireVariable(settings: KafkaSettings, name: keyof KafkaSettings & `KAFKA_REST_${string}`): string {
  const value = settings[name];
  if (typeof value === 'string' && value.trim() !== '') return value;
  throw new Error(`KAFKA_REST_DIALECT is ${settings.KAFKA_REST_DIALECT}, which needs the variable ${name}`);
}

/**
 * Makes the publisher of the configured dialect.
 * @throws Error that names the missing variable, never the value of a secret
 */
export function selectPublisher(settings: KafkaSettings): Publisher {
  const rest = restSettings(settings);
  if (rest.token === undefined && rest.username !== undefined) requireVariable(settings, 'KAFKA_REST_PASSWORD');
  switch (settings.KAFKA_REST_DIALECT) {
    case 'upstash':
      return upstashPublisher({
        url: rest.url,
        username: requireVariable(settings, 'KAFKA_REST_USERNAME'),
        password: requireVariable(settings, 'KAFKA_REST_PASSWORD'),
      });
    case 'confluent':
      return confluentPublisher({ ...rest, clusterId: requireVariable(settings, 'KAFKA_REST_CLUSTER_ID') });
    case 'rest-v2':
      return restV2Publisher({ ...rest, headers: settings.KAFKA_REST_HEADERS });
  }
}
