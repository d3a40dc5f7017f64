import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findFreePort, run } from '../support/process.ts';
import { type Artifact, classPath, type Program, startJava } from './java.ts';

export type RealKafka = {
  /** `host:port` of the broker, for native clients. */
  broker: string;
  /** The URL of its REST v2 interface. */
  restUrl: string;
  /** The name of the program that serves REST v2. */
  rest: string;
  /** Shuts the broker down and keeps its data. */
  stopBroker: () => Promise<void>;
  startBroker: () => Promise<void>;
  close: () => Promise<void>;
};

const kafkaVersion = '4.1.2';
const kafka: Artifact[] = [
  { groupId: 'org.apache.kafka', artifactId: 'kafka_2.13', version: kafkaVersion },
  { groupId: 'org.slf4j', artifactId: 'slf4j-simple', version: '1.7.36' },
];
const strimziVersion = '0.33.1';
const strimzi: Artifact[] = [{ groupId: 'io.strimzi', artifactId: 'kafka-bridge', version: strimziVersion }];
const kafkaRestSource = join(import.meta.dirname, 'KafkaRest.java');

const serverProperties = (dir: string, port: number, controller: number) => `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${join(dir, 'log')}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
`;

async function responds(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => null);
  return response?.ok === true;
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}

async function untilReady(name: string, program: Program, isReady: () => Promise<boolean>): Promise<void> {
  let ended = false;
  void program.ended.then(() => {
    ended = true;
  });
  for (const end = Date.now() + 180_000; !(await isReady()); await sleep(200)) {
    if (ended || Date.now() > end) throw new Error(`${name} did not start:\n${program.output()}`);
  }
}

type RestOptions = {
  dir: string;
  broker: string;
  port: number;
  classes: string;
  programs: Program[];
  log: (line: string) => void;
};

/** Starts Strimzi Kafka Bridge on `port`. @throws Error if Maven does not have it or it does not start */
async function startStrimzi({ dir, broker, port, programs }: RestOptions): Promise<string> {
  const classes = await classPath(dir, strimzi);
  const config = join(dir, 'bridge.properties');
  const lines = ['bridge.id=test', `kafka.bootstrap.servers=${broker}`, 'http.host=127.0.0.1', `http.port=${port}`];
  await writeFile(config, `${lines.join('\n')}\n`);
  const program = startJava(classes, ['io.strimzi.kafka.bridge.Application', `--config-file=${config}`]);
  programs.push(program);
  try {
    await untilReady('Strimzi Kafka Bridge', program, () => responds(`http://127.0.0.1:${port}/topics`));
  } catch (error) {
    await program.stop(); // frees the port for KafkaRest.java
    throw error;
  }
  return `Strimzi Kafka Bridge ${strimziVersion}`;
}

async function startKafkaRest({ broker, port, classes, programs }: RestOptions): Promise<string> {
  const program = startJava(classes, [kafkaRestSource, String(port), broker]);
  programs.push(program);
  await untilReady('KafkaRest.java', program, () => responds(`http://127.0.0.1:${port}/topics`));
  return 'KafkaRest.java';
}

async function startRest(options: RestOptions): Promise<string> {
  try {
    return await startStrimzi(options);
  } catch (error) {
    const [reason = ''] = (error as Error).message.split('\n');
    const missing = /kafka-bridge\S* (in|was not found)|Could not find artifact/.test(reason);
    options.log(`Strimzi Kafka Bridge ${strimziVersion} cannot start: ${missing ? 'Maven does not have it' : reason}`);
    return startKafkaRest(options);
  }
}

/**
 * Starts Apache Kafka (KRaft, one node, no automatic topics) on free ports of 127.0.0.1, with an HTTP interface:
 * Strimzi Kafka Bridge if Maven has it, otherwise KafkaRest.java. `close` deletes the temporary data folder.
 * @throws Error with the output of Maven or of the program that failed
 */
export async function startRealKafka(log: (line: string) => void): Promise<RealKafka> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-kafka-'));
  const programs: Program[] = [];
  const close = async () => {
    for (const program of programs.reverse()) await program.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    log(`Apache Kafka ${kafkaVersion}: loading it with Maven`);
    const classes = await classPath(dir, kafka);
    const [port, controller, restPort] = [await findFreePort(), await findFreePort(), await findFreePort()];
    const broker = `127.0.0.1:${port}`;
    const properties = join(dir, 'server.properties');
    await mkdir(join(dir, 'log'));
    await writeFile(properties, serverProperties(dir, port, controller));
    const id = randomBytes(16).toString('base64url');
    const format = ['kafka.tools.StorageTool', 'format', '-t', id, '-c', properties];
    const formatted = await run('java', ['-cp', classes, ...format]);
    if (formatted.code !== 0) throw new Error(`Kafka's storage could not be formatted:\n${formatted.output}`);

    let server: Program | undefined;
    const restUrl = `http://127.0.0.1:${restPort}`;
    const startBroker = async (isReady = () => responds(`${restUrl}/topics`)) => {
      server = startJava(classes, ['kafka.Kafka', properties]);
      programs.push(server);
      await untilReady('Apache Kafka', server, isReady);
    };
    await startBroker(() => isOpen(port));
    log(`Apache Kafka ${kafkaVersion} listens on ${broker}`);
    const rest = await startRest({ dir, broker, port: restPort, classes, programs, log });
    log(`${rest} listens on ${restUrl}`);
    return { broker, restUrl, rest, startBroker: () => startBroker(), stopBroker: async () => server?.stop(), close };
  } catch (error) {
    await close();
    throw error;
  }
}
