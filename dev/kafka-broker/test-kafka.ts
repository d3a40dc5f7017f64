import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { repository } from '../platform/settings.ts';
import { parseOptions } from '../support/options.ts';
import { type RealKafka, startRealKafka } from './broker.ts';
import { missingJava } from './java.ts';
import { createMissingTopics } from './topics.ts';

const help = `npm run test:kafka [-- --serve]

Runs the tests that need a real Apache Kafka: one node (KRaft) from Maven Central, with Strimzi Kafka Bridge if Maven
has it, otherwise with dev/kafka-broker/KafkaRest.java. Needs Java 17 and Maven. Without them it skips the tests and
exits with 0.

  --serve   run no tests: start Kafka with the topics of src/events/topics.ts, until Ctrl-C

To test another Kafka, set KAFKA_TEST_REST_URL (its REST v2 interface) and KAFKA_TEST_BROKERS (host:port,
comma-separated, for the native client). The tests write records to its topics.`;

const print = (line: string) => console.log(line);

/** Starts an HTTP server with which the test process can stop and start the broker. */
async function startControl(kafka: RealKafka): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    const action = request.url === '/stop' ? kafka.stopBroker() : kafka.startBroker();
    action.then(
      () => response.end('ok'),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

let tests: ChildProcess | undefined;

function runTests(variables: Record<string, string>): Promise<number> {
  const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
  tests = spawn(process.execPath, [vitest, 'run', '--config', 'vitest.kafka.config.ts'], {
    cwd: repository,
    stdio: 'inherit',
    env: { ...process.env, ...variables },
  });
  return new Promise((resolve) => tests?.on('exit', (code) => resolve(code ?? 1)));
}

/** Resolves on Ctrl-C, or when npm, the parent process, has ended. */
const stopped = new Promise<void>((resolve) => {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => resolve());
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && resolve(), 250).unref();
});

async function main(serve: boolean): Promise<number> {
  const { KAFKA_TEST_REST_URL: restUrl, KAFKA_TEST_BROKERS: brokers } = process.env;
  if (restUrl !== undefined) {
    if (brokers === undefined)
      throw new Error('KAFKA_TEST_REST_URL is set without KAFKA_TEST_BROKERS: set it to host:port');
    await createMissingTopics(brokers.split(','));
    return runTests({});
  }
  const missing = await missingJava();
  if (missing !== null) {
    print(`Skipped: ${missing}. These tests need Java 17 and Maven, or KAFKA_TEST_REST_URL and KAFKA_TEST_BROKERS.`);
    return 0;
  }
  let kafka: RealKafka | undefined;
  const started = startRealKafka(print).then((ready) => {
    kafka = ready;
  });
  try {
    if ((await Promise.race([started, stopped.then(() => 'stopped')])) === 'stopped')
      await started.catch(() => undefined);
    if (!kafka) return 1;
    await createMissingTopics([kafka.broker]);
    if (serve) {
      const variables = { KAFKA_REST_URL: kafka.restUrl, KAFKA_REST_DIALECT: 'rest-v2', KAFKA_REST_HEADERS: 'true' };
      print(
        `\n${Object.entries(variables)
          .map(([name, value]) => `${name}=${value}`)
          .join(' ')} npm start`,
      );
      print(`npm run replay -- <file> --kafka-brokers ${kafka.broker}\n\nCtrl-C stops Kafka and deletes its data.`);
      await stopped;
      return 0;
    }
    const control = await startControl(kafka);
    const variables = {
      KAFKA_TEST_REST_URL: kafka.restUrl,
      KAFKA_TEST_BROKERS: kafka.broker,
      KAFKA_TEST_CONTROL_URL: control.url,
    };
    const code = await Promise.race([runTests(variables), stopped.then(() => 130)]);
    control.server.close();
    control.server.closeAllConnections();
    return code;
  } finally {
    tests?.kill('SIGINT');
    await kafka?.close();
  }
}

try {
  const { values } = parseOptions('npm run test:kafka', {
    options: { serve: { type: 'boolean' }, help: { type: 'boolean' } },
  });
  if (values.help) print(help);
  else process.exit(await main(values.serve === true));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
