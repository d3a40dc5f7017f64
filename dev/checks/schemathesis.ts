import { spawn } from 'node:child_process';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { repository } from '../platform/settings.ts';
import { run } from '../support/process.ts';

const help = `npm run test:schemathesis [-- options]

Schemathesis (https://schemathesis.io, of PyPI) reads /openapi.json of a platform that is started for it, on ports of its
own and with data that are gone afterwards, and sends what the document allows and what it does not. Needs Python 3.9 with
venv and pip; what it installs is kept in the folder for temporary files.

  --seconds N      time for generated requests, beside what must be covered (180)
  --seed N         of what is generated (1)
  --url URL        a platform that runs already; its data are changed
  --key KEY        a secret key there (sk_dev_default)

Everything after a second -- goes to "schemathesis run".`;

const version = '4.32.5';

/** What an answer is checked for. */
const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
];

/** A Python that is new enough, with what makes folders of packages. */
async function findPython(): Promise<string | undefined> {
  const test = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))';
  for (const name of ['python3', 'python']) {
    if ((await run(name, ['-c', test])).code === 0) return name;
  }
  return undefined;
}

/** The command, installed if it is not there yet. */
async function install(python: string): Promise<string> {
  const dir = join(tmpdir(), `fusioncommerce-schemathesis-${version}`);
  const command = join(dir, 'bin', 'schemathesis');
  if ((await run(command, ['--version'])).code === 0) return command;
  process.stdout.write(`installs schemathesis ${version} in ${dir}\n`);
  for (const [name, args] of [
    [python, ['-m', 'venv', '--clear', dir]],
    [join(dir, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', `schemathesis==${version}`]],
  ] as const) {
    const { code, output } = await run(name, [...args]);
    if (code !== 0) throw new Error(`"${[name, ...args].join(' ')}" failed:\n${output}`);
  }
  await access(command);
  return command;
}

/** A port that nobody listens at just now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}

/** The local platform on free ports, with a folder of its own. */
async function startOwn(): Promise<{ url: string; stop: () => Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-schemathesis-data-'));
  const env: NodeJS.ProcessEnv = { ...process.env, DATA_DIR: join(dir, 'data'), LIVE_SECONDS: '1' };
  for (const name of ['PORT', 'POSTGRES_PORT', 'NEON_PORT', 'KAFKA_PORT', 'STRIPE_PORT'])
    env[name] = String(await freePort());
  const child = spawn(process.execPath, ['dev/start.ts', '--quiet'], {
    cwd: repository,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async () => {
    child.kill('SIGINT');
    await exited;
    await rm(dir, { recursive: true, force: true });
  };
  const url = `http://127.0.0.1:${env.PORT}`;
  // Products are seeded last, once everything else answers.
  while (!(await answers(`${url}/v1/products/by-sku/MUG-01`))) {
    if (child.exitCode !== null) {
      await stop();
      throw new Error(`the platform did not start:\n${said}`);
    }
    await sleep(200);
  }
  return { url, stop };
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { headers: { authorization: 'Bearer sk_dev_default' } })).ok;
  } catch {
    return false;
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '180' },
      seed: { type: 'string', default: '1' },
      url: { type: 'string' },
      key: { type: 'string', default: 'sk_dev_default' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) {
    process.stdout.write(`${help}\n`);
    return 0;
  }
  const python = await findPython();
  if (python === undefined) {
    process.stderr.write('Python 3.9 or newer with venv and pip is not at hand: nothing was tested.\n');
    return 2;
  }
  const command = await install(python);
  const platform = values.url === undefined ? await startOwn() : { url: values.url, stop: async () => undefined };
  const args = [
    ...['run', `${platform.url}/openapi.json`, '--header', `Authorization: Bearer ${values.key}`],
    ...['--checks', checks.join(','), '--max-time', values.seconds, '--seed', values.seed],
    // One worker: with more, Python 3.11 itself fails ("AST constructor recursion depth mismatch").
    ...['--workers', '1', '--generation-database', 'none', '--continue-on-failure', '--warnings', 'off'],
    // It has no way to write NDJSON or CSV; test/catalog/imports.test.ts and test/abuse/abuse.test.ts do.
    ...['--exclude-operation-id', 'importProducts'],
    ...positionals,
  ];
  const child = spawn(command, args, { cwd: tmpdir(), stdio: 'inherit' });
  const forward = () => child.kill('SIGINT');
  process.once('SIGINT', forward);
  const code = await new Promise<number>((resolve) => {
    child.once('error', () => resolve(1));
    child.once('exit', (exit) => resolve(exit ?? 1));
  });
  process.off('SIGINT', forward);
  await platform.stop();
  return code;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
