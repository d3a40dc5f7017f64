import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseEnv } from 'node:util';

export type Port = { variable: string; part: string; port: number };

export type DatabaseSettings =
  | { kind: 'embedded' }
  | {
      /** The user's database. With its owner's login it is migrated; with that of `fusion_worker` it is only used. */
      kind: 'external';
      url: string;
      isOwner: boolean;
      workerPassword: string | undefined;
      /** On this machine, so the development keys may be added. */
      isLocal: boolean;
      /** The Neon emulator runs in front of it, since the database has no HTTP endpoint. */
      needsBridge: boolean;
    };

export type StartSettings = {
  /** The data folder. */
  dir: string;
  ports: { api: Port; postgres: Port; neon: Port; kafka: Port; stripe: Port; vies: Port; oidc: Port };
  database: DatabaseSettings;
  /** The names of the cells to create beside the default cell. */
  cells: string[];
  /** False if the user's variables name another Kafka, or a Stripe account. */
  emulateKafka: boolean;
  emulateStripe: boolean;
  /** False if the user's variables name the address of VIES. */
  emulateVies: boolean;
  /** The Worker's variables that the user set, in the environment or in .dev.vars. */
  variables: Record<string, string>;
};

type Environment = Record<string, string | undefined>;

export const repository = resolve(import.meta.dirname, '..', '..');

/** The environment variables that are passed to the Worker. All variables of .dev.vars are. */
const workerVariable =
  /^(KAFKA_(?!PORT$|TEST_)|STRIPE_(?!PORT$)|SHIP(PING|PO)?_|EASYPOST_|CARRIER$|PUBLIC_URL$|TENANT_SECRETS_KEY$|RESERVATION_|DATABASE_(DEADLINE_MS$|JOB_SECRET(_|$)|URL_(?!UNPOOLED$))|JOIN_|ALLOW_LOOPBACK_URLS$|CAMPAIGN_|LIVE_|VIES_URL$|NEON_HTTP_URL(_|$))/;

/** The variables of .dev.vars, a file that only the user writes. Empty if there is no such file. */
export function readDevVars(path = resolve(repository, '.dev.vars')): Environment {
  try {
    return parseEnv(readFileSync(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

/** Reads the documented variables. The environment overrides .dev.vars. Throws if a value is invalid. */
export function readSettings(environment: Environment, devVars: Environment = {}): StartSettings {
  const given = { ...devVars, ...environment };
  const names = [...Object.keys(devVars), ...Object.keys(environment).filter((name) => workerVariable.test(name))];
  const variables: Record<string, string> = {};
  for (const name of names) {
    const value = given[name];
    if (value !== undefined && value !== '') variables[name] = value;
  }
  const port = (variable: string, part: string, defaultPort: number): Port => ({
    variable,
    part,
    port: readPort(variable, given[variable], defaultPort),
  });
  const database = readDatabase(given);
  return {
    dir: resolve(repository, given.DATA_DIR || '.data'),
    ports: {
      api: port('PORT', 'the API', 8787),
      postgres: port('POSTGRES_PORT', 'PostgreSQL', 54329),
      neon: port('NEON_PORT', 'Neon HTTP', 4444),
      kafka: port('KAFKA_PORT', 'Kafka REST', 8082),
      stripe: port('STRIPE_PORT', 'Stripe', 12111),
      vies: port('VIES_PORT', 'VIES', 8445),
      oidc: port('OIDC_PORT', 'OpenID', 12112),
    },
    database,
    cells: readCells(given, database),
    emulateKafka: variables.KAFKA_REST_URL === undefined,
    emulateStripe: variables.STRIPE_SECRET_KEY === undefined,
    emulateVies: variables.VIES_URL === undefined,
    variables,
  };
}

/** The ports of the parts that will be started. */
export function portsInUse({ ports, database, emulateKafka, emulateStripe, emulateVies }: StartSettings): Port[] {
  return [
    ports.api,
    ...(database.kind === 'embedded' ? [ports.postgres] : []),
    ...(database.kind === 'embedded' || database.needsBridge ? [ports.neon] : []),
    ...(emulateKafka ? [ports.kafka] : []),
    ...(emulateStripe ? [ports.stripe] : []),
    ...(emulateVies ? [ports.vies] : []),
    ports.oidc,
  ];
}

function readPort(variable: string, text: string | undefined, defaultPort: number): number {
  if (text === undefined || text === '') return defaultPort;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Error(
      `${variable}=${text} is not a port: set ${variable} to a number from 1 to 65535, or unset it to use ${defaultPort}`,
    );
  }
  return port;
}

/** Names the cells of `CELLS=3`: c2 and c3. The user's own cells are given by `DATABASE_URL_<NAME>` instead. */
function readCells(given: Environment, database: DatabaseSettings): string[] {
  const text = given.CELLS;
  if (text === undefined || text === '') return [];
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 9) {
    throw new Error(`CELLS=${text} is not a number of cells: set CELLS to a number from 1 to 9, or unset it`);
  }
  if (count > 1 && database.kind !== 'embedded') {
    throw new Error(
      'CELLS creates local databases: unset DATABASE_URL, or name your own cells with DATABASE_URL_<NAME>',
    );
  }
  return Array.from({ length: count - 1 }, (_, index) => `c${index + 2}`);
}

function readDatabase(given: Environment): DatabaseSettings {
  const url = given.DATABASE_URL;
  if (url === undefined || url === '') return { kind: 'embedded' };
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    throw new Error(
      'DATABASE_URL is not a PostgreSQL connection string: it must look like postgres://user:password@host:port/database',
    );
  }
  const { hostname, username } = new URL(url);
  const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  const isOwner = username !== 'fusion_worker';
  const workerPassword = given.WORKER_DATABASE_PASSWORD || (isLocal ? 'fusion_worker' : undefined);
  if (isOwner && workerPassword === undefined) {
    throw new Error(
      `DATABASE_URL logs in as ${username}, so WORKER_DATABASE_PASSWORD is missing: set it to the password that ` +
        "the Worker's role fusion_worker will have there, or set DATABASE_URL to the login of fusion_worker",
    );
  }
  if (!isOwner && !given.DATABASE_JOB_SECRET) {
    throw new Error(
      'DATABASE_URL logs in as fusion_worker, so DATABASE_JOB_SECRET is missing: create one with ' +
        '"npm run keys -- jobs make" as the database\'s owner, and set it',
    );
  }
  const needsBridge = !/\.neon\.(tech|build)$/.test(hostname) && !given.NEON_HTTP_URL;
  return { kind: 'external', url, isOwner, workerPassword, isLocal, needsBridge };
}
