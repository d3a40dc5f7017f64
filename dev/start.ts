import { inspect } from 'node:util';
import { claimData, resetData } from './platform/data-folder.ts';
import { readableLine } from './platform/log-lines.ts';
import { type Platform, startPlatform } from './platform/platform.ts';
import { checkPorts } from './platform/ports.ts';
import { acmeStripeAccount, devKeysOf, seededSku } from './platform/seed.ts';
import { portsInUse, readDevVars, readSettings, type StartSettings } from './platform/settings.ts';
import { describeFailure } from './postgres/connection.ts';
import { parseOptions } from './support/options.ts';
import { Progress } from './support/progress.ts';

const help = `npm start [-- --reset] [-- --quiet]

Starts FusionCommerce on this machine: a real PostgreSQL, emulators of Neon's HTTP protocol, Kafka REST, Stripe, VIES and
an OpenID provider, and the Worker with its queues and crons. Press Ctrl-C to stop everything. The data are kept for the
next start.

  --reset   delete the data of earlier starts first
  --quiet   do not print the Worker's log; it is always written to logs/worker.log in the data folder, as JSON lines
  --help    print this text

Environment variables; they can also be set in the file .dev.vars:

  Ports, with their defaults:
  PORT 8787 (the API)   POSTGRES_PORT 54329   NEON_PORT 4444   KAFKA_PORT 8082   STRIPE_PORT 12111
  VIES_PORT 8445
  OIDC_PORT 12112

  CELLS                      how many cells: 2 adds the cell c2, another database of the same PostgreSQL; default: 1
  DATA_DIR                   the data folder; default: .data in this repository
  DATABASE_URL               your PostgreSQL (for example Neon), with the login of its owner; replaces the local one
  WORKER_DATABASE_PASSWORD   the password to set there for the Worker's role fusion_worker
  DATABASE_URL_EU1           the database of your cell eu1, with the login of fusion_worker; run "npm run migrate" first
  NEON_HTTP_URL              your endpoint for Neon's HTTP protocol
  KAFKA_REST_URL             your Kafka; also set KAFKA_REST_USERNAME, KAFKA_REST_PASSWORD and KAFKA_REST_DIALECT
  STRIPE_SECRET_KEY          your Stripe account; also set STRIPE_WEBHOOK_SECRET
  VIES_URL                   the VIES to ask about VAT numbers; replaces the emulator

The Worker's other variables (RESERVATION_TTL_SECONDS, a carrier's key, …) are passed to it. The README lists them.`;

/** Thrown between two steps of the start when it was stopped meanwhile. */
class StartStopped extends Error {}

/** Lines that wrangler repeats at each reload. */
const repeatedLine = /^\s*$|^(Your Worker has access to|Binding\s|env\.|⎔ Connection status)/;

const write = (text: string): boolean => process.stdout.write(text);

/** Starts the platform, waits until it is stopped or fails, and ends every part. Resolves with the exit code. */
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
  // The Neon, Kafka, Stripe and OpenID emulators run in this process, so an uncaught error is a crash of one of them.
  process.on('uncaughtException', (error) => endNow(`${partOf(error)} crashed: ${inspect(error)}`));

  write('Starting FusionCommerce on this machine. Press Ctrl-C to stop it.\n\n');
  const release = await claimData(settings.dir);
  let failure: string | undefined;
  try {
    await checkPorts(portsInUse(settings));
    if (reset) await progress.step('Reset', () => resetData(settings.dir));
    const platform = startPlatform(settings, {
      progress,
      onPartStarted: (part, stop) => stops.unshift({ part, stop }),
      onPartExited: (part, reason) => endNow(`${part} ${reason.startsWith('its') ? `failed: ${reason}` : reason}`),
      onWorkerLine: (raw) => {
        const line = isReady && !quiet && !ending && !repeatedLine.test(raw) ? readableLine(raw) : undefined;
        if (line !== undefined) write(`${line}\n`);
      },
      throwIfStopped: () => {
        if (ending) throw new StartStopped();
      },
    });
    platform.catch((error: unknown) => {
      if (!ending) endNow(describeFailure(error));
    });
    void platform.then((running) => {
      write(describePlatform(settings, running));
      isReady = true;
    });
    failure = await end.promise;
    if (failure !== undefined) progress.say(`\n${failure}`);
    progress.say(isReady ? '\nStopping all parts.' : '\nStopping before all parts have started.');
    // Wait for the current step, so that the part it starts can be stopped. The Worker would take too long for that.
    const stopParts = async (matches: (part: string) => boolean): Promise<void> => {
      for (const { part, stop } of stops.filter(({ part }) => matches(part))) {
        await stop().catch((error: Error) => write(`${part} did not stop: ${error.message}\n`));
      }
    };
    await stopParts((part) => part === 'Crons' || part === 'Worker');
    await platform.catch(() => undefined);
    await stopParts((part) => part !== 'Crons' && part !== 'Worker');
  } finally {
    await release();
  }
  return failure === undefined ? 0 : 1;
}

/** The first signal stops the platform. A second signal, at least one second later, exits at once. */
function onSignals(endNow: () => void, isEnding: () => boolean): void {
  let first = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      // npm forwards a Ctrl-C that this process already got from the terminal. It does not count as a second signal.
      if (!isEnding()) first = Date.now();
      else if (Date.now() - first > 1_000) process.exit(1); // watchdogs end the remaining processes
      endNow();
    });
  }
  // A SIGTERM to npm ends the shell between npm and this process, but not this process.
  const parent = process.ppid;
  const endIfOrphaned = (): void => {
    if (process.ppid !== parent) endNow();
  };
  if (process.env.npm_lifecycle_event !== undefined) setInterval(endIfOrphaned, 250).unref();
}

/** The part whose code threw the error. */
function partOf(error: Error): string {
  const file = /\/dev\/(kafka|stripe|neon|vies|oidc)\//.exec(error.stack ?? '')?.[1];
  const names = { kafka: 'Kafka REST', stripe: 'Stripe', neon: 'Neon HTTP', vies: 'VIES', oidc: 'OpenID' };
  return names[file as keyof typeof names] ?? 'npm start';
}

/** The text printed when everything runs: addresses, keys, and a command that places an order. */
function describePlatform(settings: StartSettings, platform: Platform): string {
  const { api, databaseUrl, neonUrl, kafkaUrl, stripeUrl, viesUrl, oidcUrl, seeded, cells } = platform;
  const rows = [
    ['API', `${api}   reference: ${api}/docs`],
    ...(databaseUrl && settings.database.kind === 'embedded' ? [['DATABASE_URL', databaseUrl]] : []),
    ...(neonUrl ? [['Neon HTTP', neonUrl]] : []),
    [
      'Kafka REST',
      kafkaUrl ? `${kafkaUrl}   user dev, password dev` : `yours, at ${settings.variables.KAFKA_REST_URL}`,
    ],
    ['Stripe', stripeUrl ? `${stripeUrl}   secret key sk_test_dev, webhook secret whsec_dev` : 'your account'],
    ...(stripeUrl && seeded
      ? [['', `tenant acme: account ${acmeStripeAccount}, webhook secret whsec_dev_connect`]]
      : []),
    ['VIES', viesUrl ?? `the one at ${settings.variables.VIES_URL}`],
    ['OpenID', `${oidcUrl}   an ID token for any e-mail address, for customers of the tenant default`],
    ['Data folder', settings.dir],
    ...(settings.variables.ALLOW_LOOPBACK_URLS === undefined
      ? [['Images', 'and OpenID providers may be on this machine, over http too (ALLOW_LOOPBACK_URLS=true)']]
      : []),
    ...(seeded
      ? [
          ['API keys', 'tenant default: sk_dev_default (secret), pk_dev_default (publishable)'],
          ['', 'tenant acme: sk_dev_acme (secret), pk_dev_acme (publishable)'],
        ]
      : []),
    ...cells.map(({ name, databaseUrl: url }) => {
      const { secret, publishable } = devKeysOf('default', name);
      return [`Cell ${name}`, `${url}   tenant default: ${secret} (secret), ${publishable} (publishable)`];
    }),
  ];
  const order = `{"customerId":"ada","items":[{"sku":"${seededSku}","quantity":2}]}`;
  const curl =
    `curl -s ${api}/v1/orders -H 'Authorization: Bearer sk_dev_default' -H 'Content-Type: application/json' ` +
    `-H "Idempotency-Key: $(node -p 'crypto.randomUUID()')" -d '${order}'`;
  const list = rows.map(([name = '', value]) => `  ${name.padEnd(13)} ${value}\n`).join('');
  return `\nReady.\n\n${list}\n${seeded ? `Place an order from another terminal, or run "npm run shop" there to buy in the browser:\n\n${curl}\n\n` : ''}`;
}

try {
  const { values } = parseOptions('npm start', {
    options: { reset: { type: 'boolean' }, quiet: { type: 'boolean' }, help: { type: 'boolean' } },
  });
  if (values.help) console.log(help);
  else {
    const settings = readSettings(process.env, readDevVars());
    // Exit explicitly: an open connection of a client would keep the process alive.
    process.exit(await main(settings, values.reset === true, values.quiet === true));
  }
} catch (error) {
  console.error(describeFailure(error));
  process.exit(1);
}
