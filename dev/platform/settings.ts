import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseEnv } from 'node:util';

export type Port = { variable: string; part: string; port: number };

export type DatabaseSettings =
  | { kind: 'embedded' }
  /** A database of the user's own: as its owner we migrate it, as `fusion_worker` we only use it. */
  | { kind: 'own'; url: string; owner: boolean; workerPassword: string | undefined; local: boolean; bridge: boolean };

export type StartSettings = {
  /** Where the data are kept. */
  dir: string;
  ports: { api: Port; postgres: Port; neon: Port; kafka: Port; stripe: Port };
  database: DatabaseSettings;
  /** Whether we emulate it; else it is the real one, by the user's variables. */
  emulateKafka: boolean;
  emulateStripe: boolean;
  /** What the user set for the Worker, in the environment or in .dev.vars. */
  variables: Record<string, string>;
};

type Environment = Record<string, string | undefined>;

export const repository = resolve(import.meta.dirname, '..', '..');

/** Variables of the environment that are the Worker's too. All of .dev.vars is. */
const forWorker =
  /^(KAFKA_(?!PORT$|TEST_)|STRIPE_(?!PORT$)|SHIP(PING|PO)?_|EASYPOST_|CARRIER$|PUBLIC_URL$|RESERVATION_|DATABASE_(DEADLINE_MS|JOB_SECRET)$|JOIN_|CAMPAIGN_|LIVE_|NEON_HTTP_URL$)/;

/** Values of .dev.vars, the user's own file, which we read and never write; empty if there is none. */
export function readDevVars(path = resolve(repository, '.dev.vars')): Environment {
  try {
    return parseEnv(readFileSync(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

/** What to start, by the documented variables. The environment goes before .dev.vars. Throws on a value that is wrong. */
export function readSettings(environment: Environment, devVars: Environment = {}): StartSettings {
  const given = { ...devVars, ...environment };
  const names = [...Object.keys(devVars), ...Object.keys(environment).filter((name) => forWorker.test(name))];
  const variables: Record<string, string> = {};
  for (const name of names) {
    const value = given[name];
    if (value !== undefined && value !== '') variables[name] = value;
  }
  const port = (variable: string, part: string, usual: number): Port => ({
    variable,
    part,
    port: readPort(variable, given[variable], usual),
  });
  return {
    dir: resolve(repository, given.DATA_DIR || '.data'),
    ports: {
      api: port('PORT', 'the API', 8787),
      postgres: port('POSTGRES_PORT', 'PostgreSQL', 54329),
      neon: port('NEON_PORT', 'Neon HTTP', 4444),
      kafka: port('KAFKA_PORT', 'Kafka REST', 8082),
      stripe: port('STRIPE_PORT', 'Stripe', 12111),
    },
    database: readDatabase(given),
    emulateKafka: variables.KAFKA_REST_URL === undefined,
    emulateStripe: variables.STRIPE_SECRET_KEY === undefined,
    variables,
  };
}

/** The ports of those parts that will be started. */
export function portsInUse({ ports, database, emulateKafka, emulateStripe }: StartSettings): Port[] {
  return [
    ports.api,
    ...(database.kind === 'embedded' ? [ports.postgres] : []),
    ...(database.kind === 'embedded' || database.bridge ? [ports.neon] : []),
    ...(emulateKafka ? [ports.kafka] : []),
    ...(emulateStripe ? [ports.stripe] : []),
  ];
}

function readPort(variable: string, text: string | undefined, usual: number): number {
  if (text === undefined || text === '') return usual;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`${variable}=${text} is no port`);
  return port;
}

function readDatabase(given: Environment): DatabaseSettings {
  const url = given.DATABASE_URL;
  if (url === undefined || url === '') return { kind: 'embedded' };
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    throw new Error('DATABASE_URL is not of the form postgres://user:password@host:port/database');
  }
  const { hostname, username } = new URL(url);
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  const owner = username !== 'fusion_worker';
  const workerPassword = given.WORKER_DATABASE_PASSWORD || (local ? 'fusion_worker' : undefined);
  if (owner && workerPassword === undefined) {
    throw new Error(
      `DATABASE_URL is ${username}'s: set WORKER_DATABASE_PASSWORD as well, the password that the Worker's role ` +
        'fusion_worker is to have there; or give the connection string of fusion_worker itself',
    );
  }
  if (!owner && !given.DATABASE_JOB_SECRET) {
    throw new Error('DATABASE_URL is fusion_worker\'s: set DATABASE_JOB_SECRET as well ("npm run keys -- jobs make")');
  }
  const bridge = !/\.neon\.(tech|build)$/.test(hostname) && !given.NEON_HTTP_URL;
  return { kind: 'own', url, owner, workerPassword, local, bridge };
}
