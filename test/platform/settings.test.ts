import { expect, test } from 'vitest';
import { portsInUse, readSettings } from '../../dev/platform/settings.ts';

const portNames = (environment: Record<string, string>): string[] =>
  portsInUse(readSettings(environment)).map(({ variable, port }) => `${variable} ${port}`);

const worker = { DATABASE_JOB_SECRET: 'js_given' };

test('without variables all parts start on their default ports', () => {
  expect(portNames({})).toEqual([
    'PORT 8787',
    'POSTGRES_PORT 54329',
    'NEON_PORT 4444',
    'KAFKA_PORT 8082',
    'STRIPE_PORT 12111',
    'VIES_PORT 8445',
    'OIDC_PORT 12112',
  ]);
});

test.each<[string, Record<string, string>, string[]]>([
  [
    'Neon',
    { ...worker, DATABASE_URL: 'postgres://fusion_worker:x@ep-a.eu.aws.neon.tech/fusion' },
    ['POSTGRES_PORT', 'NEON_PORT'],
  ],
  [
    'a remote PostgreSQL',
    { ...worker, DATABASE_URL: 'postgres://fusion_worker:x@db.example/fusion' },
    ['POSTGRES_PORT'],
  ],
  ['Kafka', { KAFKA_REST_URL: 'https://kafka.example' }, ['KAFKA_PORT']],
  ['Stripe', { STRIPE_SECRET_KEY: 'sk_test_1' }, ['STRIPE_PORT']],
  ['VIES', { VIES_URL: 'https://vies.example' }, ['VIES_PORT']],
])('if the user names %s, the local one does not start', (_name, environment, missing) => {
  const remaining = portNames({}).filter((line) => !missing.some((variable) => line.startsWith(`${variable} `)));
  expect(portNames(environment)).toEqual(remaining);
});

test('a variable changes a port, and the error for an invalid port names the variable', () => {
  expect(portNames({ NEON_PORT: '4445' })).toContain('NEON_PORT 4445');
  for (const text of ['x', '0', '70000', '1.5']) expect(() => readSettings({ PORT: text })).toThrow('PORT=');
});

test('the Worker gets its documented variables and all of .dev.vars, and no others', () => {
  const environment = { STRIPE_SECRET_KEY: 'sk_live', RESERVATION_TTL_SECONDS: '60', STRIPE_PORT: '1', HOME: '/root' };
  const devVars = { RESERVATION_TTL_SECONDS: '900', ANYTHING: 'x', EMPTY: '' };
  expect(readSettings(environment, devVars).variables).toEqual({
    STRIPE_SECRET_KEY: 'sk_live',
    RESERVATION_TTL_SECONDS: '60',
    ANYTHING: 'x',
  });
});

test("a remote database with its owner's login needs a password for the Worker; a local one has a default", () => {
  const remote = { DATABASE_URL: 'postgres://owner:x@db.example/fusion' };
  expect(() => readSettings(remote)).toThrow('WORKER_DATABASE_PASSWORD');
  expect(readSettings({ ...remote, WORKER_DATABASE_PASSWORD: 'p' }).database).toMatchObject({
    isOwner: true,
    isLocal: false,
    workerPassword: 'p',
  });
  expect(readSettings({ DATABASE_URL: 'postgres://owner:x@localhost/fusion' }).database).toMatchObject({
    isOwner: true,
    isLocal: true,
    needsBridge: true,
    workerPassword: 'fusion_worker',
  });
  const asWorker = { DATABASE_URL: 'postgres://fusion_worker:x@db.example/fusion' };
  expect(() => readSettings(asWorker)).toThrow('DATABASE_JOB_SECRET');
  expect(readSettings({ ...asWorker, ...worker }).variables.DATABASE_JOB_SECRET).toBe('js_given');
  expect(() => readSettings({ DATABASE_URL: 'mysql://a/b' })).toThrow(
    'DATABASE_URL is not a PostgreSQL connection string',
  );
});

test('CELLS names the cells to create; cells of your own are passed to the Worker', () => {
  expect(readSettings({}).cells).toEqual([]);
  expect(readSettings({ CELLS: '1' }).cells).toEqual([]);
  expect(readSettings({ CELLS: '3' }).cells).toEqual(['c2', 'c3']);
  for (const text of ['0', 'two', '10', '1.5']) expect(() => readSettings({ CELLS: text })).toThrow('CELLS=');
  const own = { DATABASE_URL: 'postgres://owner:x@localhost/fusion' };
  expect(() => readSettings({ ...own, CELLS: '2' })).toThrow('DATABASE_URL_<NAME>');
  const given = { DATABASE_URL_EU1: 'postgres://fusion_worker:x@db.example/f', DATABASE_JOB_SECRET_EU1: 'js_eu1' };
  const { variables } = readSettings({ ...given, NEON_HTTP_URL_EU1: 'https://n.example', DATABASE_URL_UNPOOLED: 'x' });
  expect(variables).toEqual({ ...given, NEON_HTTP_URL_EU1: 'https://n.example' });
});
