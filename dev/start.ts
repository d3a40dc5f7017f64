import { inspect, parseArgs } from 'node:util';
import { claimData, resetData } from './platform/data-folder.ts';
import { readableLine } from './platform/log-lines.ts';
import { type Platform, startPlatform } from './platform/platform.ts';
import { checkPorts } from './platform/ports.ts';
import { seededSku } from './platform/seed.ts';
import { portsInUse, readDevVars, readSettings, type StartSettings } from './platform/settings.ts';
import { describeFailure } from './postgres/connection.ts';
import { Progress } from './support/progress.ts';

const help = `npm start [-- --reset] [-- --quiet]

Starts the whole of FusionCommerce on this machine: PostgreSQL, Neon's HTTP protocol in front of it, Kafka REST, Stripe,
and the Worker with its queues and crons. Ctrl-C ends all of it. The next start finds the data.

  --reset   deletes the data of earlier starts first
  --quiet   does not show the Worker's log; .data/logs/worker.log has it in either case, as JSON lines

Variables, from the environment or .dev.vars:
  PORT 8787   POSTGRES_PORT 54329   NEON_PORT 4444   KAFKA_PORT 8082   STRIPE_PORT 12111
  DATA_DIR                   where the data are kept; .data in this folder if not given
  DATABASE_URL               your own PostgreSQL (Neon, say) as its owner, in place of ours; with it
  WORKER_DATABASE_PASSWORD   the password that the Worker's role fusion_worker is given there
  NEON_HTTP_URL              your own endpoint for Neon's HTTP protocol
  KAFKA_REST_URL             your own Kafka, with KAFKA_REST_USERNAME, KAFKA_REST_PASSWORD, KAFKA_REST_DIALECT
  STRIPE_SECRET_KEY          the real Stripe, with STRIPE_WEBHOOK_SECRET
Those of the Worker (RESERVATION_TTL_SECONDS, a carrier's key, …) are passed on to it.`;

/** The end was asked for while something was still starting. */
class Interrupted extends Error {}

/** What wrangler repeats at each reload. */
const noise = /^\s*$|^(Your Worker has access to|Binding\s|env\.|⎔ Connection status)/;

const write = (text: string): boolean => process.stdout.write(text);

/** Starts, waits for the end, and leaves nothing running. Resolves with the exit code. */
async function main(settings: StartSettings, reset: boolean, quiet: boolean): Promise<number> {
  const progress = new Progress(write, process.stdout.isTTY === true);
  const stops: { part: string; stop: () => Promise<void> }[] = [];
  const end = Promise.withResolvers<string | undefined>();
  let ending = false;
  let isReady = false;
  const endNow = (failure?: string): void => {
    ending = true;
    end.resolve(failure);
  };
  onSignals(
    () => endNow(),
    () => ending,
  );
  // Bridge, Kafka and Stripe run in this process: an error that nobody took is a crash of one of them.
  process.on('uncaughtException', (error) => endNow(`${partOf(error)} crashed: ${inspect(error)}`));

  write('FusionCommerce, local platform. Ctrl-C ends it.\n\n');
  const release = await claimData(settings.dir);
  let failure: string | undefined;
  try {
    await checkPorts(portsInUse(settings));
    if (reset) await progress.step('Reset', () => resetData(settings.dir));
    const platform = startPlatform(settings, {
      progress,
      started: (part, stop) => stops.unshift({ part, stop }),
      ended: (part, reason) => endNow(`${part} ${reason.startsWith('its') ? `failed: ${reason}` : reason}`),
      workerLog: (raw) => {
        const line = isReady && !quiet && !ending && !noise.test(raw) ? readableLine(raw) : undefined;
        if (line !== undefined) write(`${line}\n`);
      },
      check: () => {
        if (ending) throw new Interrupted();
      },
    });
    platform.catch((error: unknown) => {
      if (!ending) endNow(describeFailure(error));
    });
    void platform.then((running) => {
      write(describe(settings, running));
      isReady = true;
    });
    failure = await end.promise;
    if (failure !== undefined) progress.say(`\n${failure}`);
    progress.say(isReady ? '\nEnding.' : '\nEnding before all was started.');
    // A step that runs is let finish, so that what it starts can be stopped; only the Worker takes too long for that.
    const stop = async (chosen: (part: string) => boolean): Promise<void> => {
      for (const { part, stop } of stops.filter(({ part }) => chosen(part))) {
        await stop().catch((error: Error) => write(`${part} did not end: ${error.message}\n`));
      }
    };
    await stop((part) => part === 'Crons' || part === 'Worker');
    await platform.catch(() => undefined);
    await stop((part) => part !== 'Crons' && part !== 'Worker');
  } finally {
    await release();
  }
  return failure === undefined ? 0 : 1;
}

/** The first signal asks for the end; another one, a second later or more, does not wait for it. */
function onSignals(endNow: () => void, isEnding: () => boolean): void {
  let first = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      // npm passes a Ctrl-C on that the terminal has sent to us already: that is no second one.
      if (!isEnding()) first = Date.now();
      else if (Date.now() - first > 1_000) process.exit(1); // the watchdogs end what is left
      endNow();
    });
  }
  // SIGTERM to npm ends the shell between npm and us, and not us.
  const parent = process.ppid;
  const watch = (): void => {
    if (process.ppid !== parent) endNow();
  };
  if (process.env.npm_lifecycle_event !== undefined) setInterval(watch, 250).unref();
}

function partOf(error: Error): string {
  const file = /\/dev\/(kafka|stripe|neon)[\w-]*\.ts/.exec(error.stack ?? '')?.[1];
  return { kafka: 'Kafka REST', stripe: 'Stripe', neon: 'Neon HTTP' }[file ?? ''] ?? 'npm start';
}

function describe(settings: StartSettings, platform: Platform): string {
  const { api, databaseUrl, neonUrl, kafkaUrl, stripeUrl, seeded } = platform;
  const rows = [
    ['API', `${api}   docs: ${api}/docs`],
    ...(databaseUrl && settings.database.kind === 'embedded' ? [['DATABASE_URL', databaseUrl]] : []),
    ...(neonUrl ? [['Neon HTTP', neonUrl]] : []),
    ['Kafka REST', kafkaUrl ? `${kafkaUrl}   dev / dev` : `yours: ${settings.variables.KAFKA_REST_URL}`],
    ['Stripe', stripeUrl ? `${stripeUrl}   sk_test_dev, whsec_dev` : 'the real one'],
    ['Data', settings.dir],
    ...(seeded ? [['Keys', 'default: sk_dev_default, pk_dev_default   acme: sk_dev_acme, pk_dev_acme']] : []),
  ];
  const order = `{"customerId":"ada","items":[{"sku":"${seededSku}","quantity":2}]}`;
  const curl =
    `curl -s ${api}/v1/orders -H 'Authorization: Bearer sk_dev_default' -H 'Content-Type: application/json' ` +
    `-H "Idempotency-Key: $(node -p 'crypto.randomUUID()')" -d '${order}'`;
  const list = rows.map(([name = '', value]) => `  ${name.padEnd(13)} ${value}\n`).join('');
  return `\nReady.\n\n${list}\n${seeded ? `Place an order:\n\n${curl}\n\n` : ''}`;
}

try {
  const options = { reset: { type: 'boolean' }, quiet: { type: 'boolean' }, help: { type: 'boolean' } } as const;
  const { values } = parseArgs({ options });
  if (values.help) console.log(help);
  else {
    const settings = readSettings(process.env, readDevVars());
    // Not left to run out: a connection that someone keeps open to us must not keep us.
    process.exit(await main(settings, values.reset === true, values.quiet === true));
  }
} catch (error) {
  console.error(describeFailure(error));
  process.exit(1);
}
