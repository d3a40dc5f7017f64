import { parseArgs } from 'node:util';
import { KafkaUnavailable } from '../../src/events/kafka/publish/publisher.ts';
import { type Dialect, dialects, type KafkaSettings } from '../../src/events/kafka/publish/select.ts';
import { topics } from '../../src/events/topics.ts';
import { readSettings } from '../platform/settings.ts';
import { openAdmin } from './admin.ts';
import { runTopics } from './run.ts';

const help = `npm run topics -- diff     shows what the broker's topics lack of those in src/events/topics.ts; changes nothing
npm run topics -- apply    shows the same, then makes what is missing

  --replication-factor <n>   copies of each partition of a new topic; the broker's default if not given

Partitions and retention only ever grow: what the broker has more of than the registry asks for stays, and is no
difference. What its interface cannot do is printed as commands of Kafka's own tools and of Redpanda's.

  confluent   makes topics, adds partitions, prolongs retention
  rest-v2     Strimzi's bridge from 0.31 makes topics, without their retention; Karapace shows; Redpanda lists names
  upstash     shows partitions

The broker is that of KAFKA_REST_URL and the other KAFKA_REST_ variables, from the environment or .dev.vars; without
them, the local platform's.

Exit code: 0 no difference, or none left; 2 there are differences, or some are left; 1 it failed.`;

class UsageError extends Error {}

/** Which broker, by the documented variables; the local platform's if none is named. */
function readKafka(variables: Record<string, string>, localPort: number): KafkaSettings {
  const local = { KAFKA_REST_USERNAME: 'dev', KAFKA_REST_PASSWORD: 'dev' };
  const given = variables.KAFKA_REST_URL === undefined ? local : variables;
  const dialect = given === local ? 'upstash' : (variables.KAFKA_REST_DIALECT ?? 'upstash');
  if (!dialects.includes(dialect as Dialect))
    throw new UsageError(`KAFKA_REST_DIALECT is one of ${dialects.join(', ')}`);
  const { KAFKA_REST_USERNAME, KAFKA_REST_PASSWORD, KAFKA_REST_TOKEN, KAFKA_REST_CLUSTER_ID } = given as Record<
    string,
    string | undefined
  >;
  return {
    KAFKA_REST_DIALECT: dialect as Dialect,
    KAFKA_REST_URL: variables.KAFKA_REST_URL ?? `http://127.0.0.1:${localPort}`,
    KAFKA_REST_USERNAME,
    KAFKA_REST_PASSWORD,
    KAFKA_REST_TOKEN,
    KAFKA_REST_CLUSTER_ID,
    KAFKA_REST_HEADERS: false,
  };
}

async function runCommand(
  args: string[],
  environment: Record<string, string | undefined>,
  say: (line: string) => void,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { help: { type: 'boolean' }, 'replication-factor': { type: 'string' } },
  });
  if (values.help) {
    say(help);
    return 0;
  }
  const [command, more] = positionals;
  if ((command !== 'diff' && command !== 'apply') || more !== undefined) throw new UsageError(help);
  const given = values['replication-factor'];
  const replicas = given === undefined ? undefined : Number(given);
  if (replicas !== undefined && !(Number.isInteger(replicas) && replicas > 0)) {
    throw new UsageError('--replication-factor is a number from 1');
  }
  const { variables, ports } = readSettings(environment);
  const kafka = readKafka(variables, ports.kafka.port);
  const admin = await openAdmin(kafka, replicas);
  return runTopics(admin, topics, { apply: command === 'apply', at: new URL(kafka.KAFKA_REST_URL).host }, say);
}

/** Runs `npm run topics` with these arguments and variables. Resolves with its exit code, and says failures as well. */
export async function topicsCommand(
  args: string[],
  environment: Record<string, string | undefined>,
  say: (line: string) => void,
): Promise<number> {
  try {
    return await runCommand(args, environment, say);
  } catch (error) {
    if (error instanceof KafkaUnavailable) say(`The broker: ${error.message}. Is KAFKA_REST_URL right?`);
    else say(error instanceof Error ? error.message : String(error));
    return 1;
  }
}
