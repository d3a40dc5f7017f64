import { KafkaUnavailable } from '../../src/events/kafka/publish/publisher.ts';
import { type Dialect, dialects, type KafkaSettings } from '../../src/events/kafka/publish/select.ts';
import { topics } from '../../src/events/topics.ts';
import { readSettings } from '../platform/settings.ts';
import { parseOptions, UsageError } from '../support/options.ts';
import { openAdmin } from './admin.ts';
import { runTopics } from './run.ts';

const help = `npm run topics -- diff     compare the broker's topics with src/events/topics.ts; changes nothing
npm run topics -- apply    compare, then create missing topics, add partitions and extend retention

  --replication-factor <n>   copies of each partition of a new topic; default: the broker's

Partitions and retention never shrink. If the broker has more than that file requires, it stays and is no difference.
Changes that the broker's interface cannot make are printed as commands of Kafka's and of Redpanda's tools.

  confluent   creates topics, adds partitions, extends retention
  rest-v2     Strimzi's bridge 0.31 and later: creates topics without their retention; Karapace: shows topics;
              Redpanda: lists names
  upstash     shows partitions

KAFKA_REST_URL and the other KAFKA_REST_ variables name the broker, in the environment or .dev.vars. Without them it is
the local platform's.

Exit code: 0 no differences remain; 2 differences remain; 1 the command failed.`;

/** The broker that the variables name; the local platform's if they name none. */
function readKafka(variables: Record<string, string>, localPort: number): KafkaSettings {
  const local = { KAFKA_REST_USERNAME: 'dev', KAFKA_REST_PASSWORD: 'dev' };
  const given = variables.KAFKA_REST_URL === undefined ? local : variables;
  const dialect = given === local ? 'upstash' : (variables.KAFKA_REST_DIALECT ?? 'upstash');
  if (!dialects.includes(dialect as Dialect))
    throw new UsageError(`KAFKA_REST_DIALECT must be one of ${dialects.join(', ')}`);
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
  print: (line: string) => void,
): Promise<number> {
  const { values, positionals } = parseOptions('npm run topics', {
    args,
    allowPositionals: true,
    options: { help: { type: 'boolean' }, 'replication-factor': { type: 'string' } },
  });
  if (values.help) {
    print(help);
    return 0;
  }
  const [command, extra] = positionals;
  if ((command !== 'diff' && command !== 'apply') || extra !== undefined) throw new UsageError(help);
  const given = values['replication-factor'];
  const replicas = given === undefined ? undefined : Number(given);
  if (replicas !== undefined && !(Number.isInteger(replicas) && replicas > 0)) {
    throw new UsageError('--replication-factor must be a whole number from 1');
  }
  const { variables, ports } = readSettings(environment);
  const kafka = readKafka(variables, ports.kafka.port);
  const admin = await openAdmin(kafka, replicas);
  return runTopics(admin, topics, { apply: command === 'apply', host: new URL(kafka.KAFKA_REST_URL).host }, print);
}

/** Runs `npm run topics` with these arguments and variables. Prints errors too, and resolves with the exit code. */
export async function topicsCommand(
  args: string[],
  environment: Record<string, string | undefined>,
  print: (line: string) => void,
): Promise<number> {
  try {
    return await runCommand(args, environment, print);
  } catch (error) {
    if (error instanceof KafkaUnavailable) print(`The broker is unavailable: ${error.message}. Check KAFKA_REST_URL.`);
    else print(error instanceof Error ? error.message : String(error));
    return 1;
  }
}
