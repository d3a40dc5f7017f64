import { describe, expect, test } from 'vitest';
import { type Facts, findDocProblems, findScriptProblems, variablesIn } from '../../dev/checks/docs.ts';
import { findRuleViolations } from '../../dev/checks/rules.ts';
import { countTests } from '../support/closing-line.ts';

const violationsOf = (path: string, text: string): string[] => findRuleViolations([{ path, text }]);

// Built from parts, since the rules would find these words in this file.
const unfinished = ['TO', 'DO'].join('');
const skipped = ['test', 'skip'].join('.');

describe('the rules reject', () => {
  test.each([
    ['a route that reads the database', 'src/routes/orders.ts', "import { orderById } from '../db/orders/queries.ts';"],
    ['a route that sends to a queue', 'src/routes/orders.ts', "import { sendToQueues } from '../events/queues.ts';"],
    [
      'a consumer that reads the database',
      'src/consumers/orders.ts',
      "import { orders } from '../db/orders/queries.ts';",
    ],
    ['a domain file that runs the relay', 'src/domain/orders.ts', "import {\n  relay,\n} from '../events/relay.ts';"],
    ['a domain file that imports from http', 'src/domain/orders.ts', "import type { Http } from '../http/route.ts';"],
    [
      'a database file that imports from domain',
      'src/db/orders/queries.ts',
      "import type { Order } from '../../domain/orders.ts';",
    ],
    [
      'a SQL function for the Worker that reads a table before it checks the caller',
      'src/db/orders/orders.sql',
      `create or replace function orders.peek(call jsonb, input jsonb) returns jsonb as $$
      begin
        perform 1 from orders.orders;
        perform platform.enter_as(call, '*');
      end $$;
      grant execute on function orders.peek to fusion_worker;`,
    ],
    [
      'a database file that imports from http',
      'src/db/orders/queries.ts',
      "import { problemOf } from '../../http/problem.ts';",
    ],
    [
      'a Worker file that imports from the local platform',
      'src/events/relay.ts',
      "import { startKafka } from '../../dev/kafka/server.ts';",
    ],
    ['hono outside routes and http', 'src/domain/orders.ts', "import { Hono } from 'hono';"],
    [
      'the database driver outside src/db/client.ts',
      'src/db/orders/queries.ts',
      "import { neon } from '@neondatabase/serverless';",
    ],
    [
      'a submodule of a package that may not be imported',
      'src/domain/orders.ts',
      "import { sql } from 'drizzle-orm/sql';",
    ],
    ['a dynamic import of such a package', 'src/domain/orders.ts', "await import('@upstash/kafka');"],
    ['a write with Drizzle', 'src/db/orders/queries.ts', 'db.insert(orders)'],
    ['a file that exports everything of another file', 'src/domain/all.ts', "export * from './orders.ts';"],
    ['a default export', 'src/domain/orders.ts', 'export default {};'],
    ['a file name that does not say what the file contains', 'src/domain/order-utils.ts', ''],
    ['a folder that belongs to no layer', 'src/services/place.ts', ''],
    ['a file of more than 300 lines', 'src/domain/orders.ts', '\n'.repeat(301)],
    ['a comment on unfinished work', 'dev/neon/bridge.ts', `// ${unfinished}: more`],
    ['a skipped test', 'test/orders/orders.test.ts', `${skipped}('x', () => {})`],
  ])('%s', (_name, path, text) => {
    expect(violationsOf(path, text)).toHaveLength(1);
  });

  test('SQL that writes a table of another service', () => {
    const header = 'create or replace function orders.place() returns void language sql as $$\n  ';
    expect(
      violationsOf('src/db/orders/orders.sql', `${header} update inventory.inventory set quantity = 0 $$;`),
    ).toEqual([
      'src/db/orders/orders.sql writes a table of inventory: a file may write only tables of its service, orders',
    ]);
    expect(violationsOf('src/db/orders/orders.sql', `${header} insert into orders.orders values (1) $$;`)).toEqual([]);
  });

  test('SQL that changes stored events: a service may only append them', () => {
    const header = 'create or replace function orders.place() returns void language sql as $$\n  ';
    const appended = `${header} insert into platform.events select; insert into platform.outbox select $$;`;
    expect(violationsOf('src/db/orders/orders.sql', appended)).toEqual([]);
    for (const statement of ['update platform.events set topic = 1', 'insert into platform.inbox select'])
      expect(violationsOf('src/db/orders/orders.sql', `${header} ${statement} $$;`)).toEqual([
        'src/db/orders/orders.sql writes a table of platform: a file may write only tables of its service, orders',
      ]);
  });

  test('files that import each other', () => {
    const files = [
      { path: 'dev/kafka/log.ts', text: "import type { Topics } from './topics.ts';" },
      { path: 'dev/kafka/topics.ts', text: "import { Log } from './log.ts';" },
    ];
    expect(findRuleViolations(files)).toEqual([
      'these files import each other: dev/kafka/log.ts → dev/kafka/topics.ts → dev/kafka/log.ts',
    ]);
  });

  test('a folder with more than 40 files', () => {
    const files = Array.from({ length: 41 }, (_, index) => ({ path: `test/orders/${index}.ts`, text: '' }));
    expect(findRuleViolations(files)).toEqual(['test/orders has 41 files; move some to a subfolder, the limit is 40']);
  });

  test('SQL that creates functions of two services', () => {
    const text = 'create or replace function orders.a() …\ncreate or replace function inventory.b() …';
    expect(violationsOf('src/db/orders/orders.sql', text)).toHaveLength(1);
  });
});

test('files that follow the rules pass', () => {
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
  expect(findRuleViolations(files)).toEqual([]);
});

describe('the documentation', () => {
  const facts: Facts = {
    exists: (path) => path === 'docs/chaos.md' || path === 'src/events/relay.ts',
    scripts: ['start'],
    test: (path) => (path === 'test/events/relay.test.ts' ? "test('a relay that dies delivers twice', …)" : undefined),
  };
  const page = (text: string, path = 'README.md') => findDocProblems([{ path, text }], facts);

  test('may not name a file or a script that does not exist', () => {
    expect(page('[a](docs/chaos.md) `src/events/relay.ts` npm run start [b](https://example.com)')).toEqual([]);
    expect(page('[a](docs/gone.md)')).toEqual(['README.md links to docs/gone.md, which does not exist']);
    expect(page('[a](chaos.md#more)', 'docs/deploy.md')).toEqual([]);
    expect(page('`src/gone.ts`')).toEqual(['README.md names src/gone.ts, which does not exist']);
    expect(page('npm run gone')).toEqual(['README.md names "npm run gone", which is not in package.json']);
  });

  test('must name an existing test for each ADR', () => {
    const confirmedBy = (line: string) => page(`# 1\n\n## Confirmed by\n\n${line}\n`, 'docs/adr/0001-a.md');
    expect(confirmedBy('- `test/events/relay.test.ts`: "a relay that dies delivers twice"')).toEqual([]);
    expect(confirmedBy('- `test/events/relay.test.ts`: "nothing is lost"')).toHaveLength(1);
    expect(confirmedBy('- `test/gone.test.ts`: "a relay that dies delivers twice"')).toHaveLength(1);
    expect(confirmedBy('')).toHaveLength(1);
  });

  test('must name an existing test for each threat', () => {
    const threats = (cell: string) => {
      const text = `## Threats\n\n| threat | what stops it | shown by |\n| --- | --- | --- |\n| theft | a lock | ${cell} |\n`;
      return findDocProblems([{ path: 'docs/security.md', text }], { ...facts, exists: () => true });
    };
    expect(threats('`test/events/relay.test.ts`: "a relay that dies delivers twice"')).toEqual([]);
    expect(threats('`test/events/relay.test.ts`: "nothing is stolen"')).toHaveLength(1);
    expect(threats('nobody')).toEqual(['docs/security.md names no test that covers "theft"']);
    expect(page('## Threats', 'docs/security.md')).toHaveLength(1);
  });

  test('is checked for every variable that the Worker and npm start read', () => {
    const worker =
      'type Bindings = {\n  A_QUEUE: Queue;\n};\nz.object({\n  DATABASE_URL: z.string(),\n  SHIP_FROM: json(address),';
    const start = "port('PORT', 'the API', 8787); given.DATA_DIR || given.DATABASE_URL";
    expect(variablesIn(worker, start)).toEqual(['DATABASE_URL', 'SHIP_FROM', 'PORT', 'DATA_DIR']);
  });

  test('may not have a script in package.json that starts a missing file', () => {
    expect(
      findScriptProblems({ a: 'node src/events/relay.ts', b: 'node dev/gone.ts --x', c: 'vitest run' }, facts.exists),
    ).toEqual(['package.json: "npm run b" starts dev/gone.ts, which does not exist']);
  });
});

test('the closing line counts a file that does not load and a failing hook as failed', () => {
  const withState = (state: string) => ({ result: () => ({ state }) });
  const module = (errors: number, hooks: number, states: string[]) => ({
    errors: () => Array(errors).fill({}),
    children: { allSuites: () => [{ errors: () => Array(hooks).fill({}) }], allTests: () => states.map(withState) },
  });
  const modules = [module(0, 0, ['passed', 'passed', 'failed']), module(0, 1, ['skipped']), module(1, 0, [])];
  const counts = countTests(modules as unknown as Parameters<typeof countTests>[0], []);
  expect(counts).toEqual({ passed: 2, failed: 3 });
});
