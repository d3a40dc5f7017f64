import { describe, expect, test } from 'vitest';
import { type Facts, findDocFaults, findScriptFaults, variablesIn } from '../../dev/checks/docs.ts';
import { findRuleFaults } from '../../dev/checks/rules.ts';
import { countTests } from '../support/closing-line.ts';

const faultsOf = (path: string, text: string): string[] => findRuleFaults([{ path, text }]);

// Put together here, or the rules would find it in this file.
const left = ['TO', 'DO'].join('');
const skipped = ['test', 'skip'].join('.');

describe('the rules refuse', () => {
  test.each([
    ['a route that reads the database', 'src/routes/orders.ts', "import { orderById } from '../db/orders/queries.ts';"],
    ['a route that sends to a queue', 'src/routes/orders.ts', "import { sendToQueues } from '../events/queues.ts';"],
    [
      'a consumer that goes round domain',
      'src/consumers/orders.ts',
      "import { orders } from '../db/orders/queries.ts';",
    ],
    ['domain that publishes', 'src/domain/orders.ts', "import {\n  relay,\n} from '../events/relay.ts';"],
    ['domain that knows its routes', 'src/domain/orders.ts', "import type { Http } from '../http/route.ts';"],
    [
      'a database file that knows what is above it',
      'src/db/orders/queries.ts',
      "import type { Order } from '../../domain/orders.ts';",
    ],
    [
      'a SQL function for the Worker that reads before it checks who calls',
      'src/db/orders/orders.sql',
      `create or replace function orders.peek(call jsonb, input jsonb) returns jsonb as $$
      begin
        perform 1 from orders.orders;
        perform platform.enter_as(call, '*');
      end $$;
      grant execute on function orders.peek to fusion_worker;`,
    ],
    [
      'a database file that knows HTTP',
      'src/db/orders/queries.ts',
      "import { problemOf } from '../../http/problem.ts';",
    ],
    [
      'a Worker that holds the local platform',
      'src/events/relay.ts',
      "import { startKafka } from '../../dev/kafka/server.ts';",
    ],
    ['hono outside routes', 'src/domain/orders.ts', "import { Hono } from 'hono';"],
    ['the driver outside its file', 'src/db/orders/queries.ts', "import { neon } from '@neondatabase/serverless';"],
    [
      'a part of a package where the package may not be',
      'src/domain/orders.ts',
      "import { sql } from 'drizzle-orm/sql';",
    ],
    ['an import that waits', 'src/domain/orders.ts', "await import('@upstash/kafka');"],
    ['a write beside the functions', 'src/db/orders/queries.ts', 'db.insert(orders)'],
    ['a barrel', 'src/domain/all.ts', "export * from './orders.ts';"],
    ['a default export', 'src/domain/orders.ts', 'export default {};'],
    ['a drawer', 'src/domain/order-utils.ts', ''],
    ['a folder that belongs to no part', 'src/services/place.ts', ''],
    ['a file of more than 300 lines', 'src/domain/orders.ts', '\n'.repeat(301)],
    ['what is left undone', 'dev/neon/bridge.ts', `// ${left}: more`],
    ['a skipped test', 'test/orders/orders.test.ts', `${skipped}('x', () => {})`],
  ])('%s', (_name, path, text) => {
    expect(faultsOf(path, text)).toHaveLength(1);
  });

  test('SQL that writes another service’s table', () => {
    const made = 'create or replace function orders.place() returns void language sql as $$\n  ';
    expect(faultsOf('src/db/orders/orders.sql', `${made} update inventory.inventory set quantity = 0 $$;`)).toEqual([
      'src/db/orders/orders.sql writes a table of inventory, not of orders',
    ]);
    expect(faultsOf('src/db/orders/orders.sql', `${made} insert into orders.orders values (1) $$;`)).toEqual([]);
  });

  test('files that import each other', () => {
    const files = [
      { path: 'dev/kafka/log.ts', text: "import type { Topics } from './topics.ts';" },
      { path: 'dev/kafka/topics.ts', text: "import { Log } from './log.ts';" },
    ];
    expect(findRuleFaults(files)).toEqual([
      'these files import each other: dev/kafka/log.ts → dev/kafka/topics.ts → dev/kafka/log.ts',
    ]);
  });

  test('a folder that has become a list', () => {
    const files = Array.from({ length: 41 }, (_, at) => ({ path: `test/orders/${at}.ts`, text: '' }));
    expect(findRuleFaults(files)).toEqual(['test/orders has 41 files; give a family of them a folder at 40']);
  });

  test('SQL that makes functions of two services', () => {
    const text = 'create or replace function orders.a() …\ncreate or replace function inventory.b() …';
    expect(faultsOf('src/db/orders/orders.sql', text)).toHaveLength(1);
  });
});

test('the rules let pass what follows them', () => {
  const files = [
    {
      path: 'src/http/mount.ts',
      text: "import { openDatabase } from '../db/client.ts';\nimport { Hono } from 'hono';",
    },
    {
      path: 'src/domain/orders.ts',
      text: "import { orderById } from '../db/orders/queries.ts';\nimport * as z from 'zod';",
    },
    {
      path: 'src/db/orders/queries.ts',
      text: "import { sql } from 'drizzle-orm';\nimport { ApiError } from '../../base/errors.ts';",
    },
    { path: 'dev/platform/platform.ts', text: "import { topics } from '../../src/events/topics.ts';" },
  ];
  expect(findRuleFaults(files)).toEqual([]);
});

describe('the documentation', () => {
  const facts: Facts = {
    exists: (path) => path === 'docs/design.md' || path === 'src/events/relay.ts',
    scripts: ['start'],
    test: (path) => (path === 'test/events/relay.test.ts' ? "test('a relay that dies delivers twice', …)" : undefined),
  };
  const page = (text: string, path = 'README.md') => findDocFaults([{ path, text }], facts);

  test('may not name a file or a script that is not there', () => {
    expect(page('[a](docs/design.md) `src/events/relay.ts` npm run start [b](https://example.com)')).toEqual([]);
    expect(page('[a](docs/gone.md)')).toEqual(['README.md links to docs/gone.md, which is not there']);
    expect(page('[a](design.md#more)', 'docs/deploy.md')).toEqual([]);
    expect(page('`src/gone.ts`')).toEqual(['README.md names src/gone.ts, which is not there']);
    expect(page('npm run gone')).toEqual(['README.md says "npm run gone", which package.json does not have']);
  });

  test('may not decide without a test that confirms it', () => {
    const decided = (line: string) => page(`# 1\n\n## Confirmed by\n\n${line}\n`, 'docs/adr/0001-a.md');
    expect(decided('- `test/events/relay.test.ts`: "a relay that dies delivers twice"')).toEqual([]);
    expect(decided('- `test/events/relay.test.ts`: "nothing is lost"')).toHaveLength(1);
    expect(decided('- `test/gone.test.ts`: "a relay that dies delivers twice"')).toHaveLength(1);
    expect(decided('')).toHaveLength(1);
  });

  test('may not name a threat without a test that covers it', () => {
    const threats = (cell: string) => {
      const text = `## Threats\n\n| threat | what stops it | shown by |\n| --- | --- | --- |\n| theft | a lock | ${cell} |\n`;
      return findDocFaults([{ path: 'docs/security.md', text }], { ...facts, exists: () => true });
    };
    expect(threats('`test/events/relay.test.ts`: "a relay that dies delivers twice"')).toEqual([]);
    expect(threats('`test/events/relay.test.ts`: "nothing is stolen"')).toHaveLength(1);
    expect(threats('nobody')).toEqual(['docs/security.md names no test that covers "theft"']);
    expect(page('## Threats', 'docs/security.md')).toHaveLength(1);
  });

  test('names every variable that is read', () => {
    const worker =
      'type Bindings = {\n  A_QUEUE: Queue;\n};\nz.object({\n  DATABASE_URL: z.string(),\n  SHIP_FROM: json(address),';
    const start = "port('PORT', 'the API', 8787); given.DATA_DIR || given.DATABASE_URL";
    expect(variablesIn(worker, start)).toEqual(['DATABASE_URL', 'SHIP_FROM', 'PORT', 'DATA_DIR']);
  });

  test('of package.json starts only what is there', () => {
    expect(
      findScriptFaults({ a: 'node src/events/relay.ts', b: 'node dev/gone.ts --x', c: 'vitest run' }, facts.exists),
    ).toEqual(['package.json: "npm run b" starts dev/gone.ts, which is not there']);
  });
});

test('the closing line counts a file that does not load and a hook that fails as failed', () => {
  const withState = (state: string) => ({ result: () => ({ state }) });
  const module = (errors: number, hooks: number, states: string[]) => ({
    errors: () => Array(errors).fill({}),
    children: { allSuites: () => [{ errors: () => Array(hooks).fill({}) }], allTests: () => states.map(withState) },
  });
  const modules = [module(0, 0, ['passed', 'passed', 'failed']), module(0, 1, ['skipped']), module(1, 0, [])];
  const counts = countTests(modules as unknown as Parameters<typeof countTests>[0], []);
  expect(counts).toEqual({ passed: 2, failed: 3 });
});
