import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { revokeLargeObjects } from '../../dev/postgres/large-objects.ts';
import { migrate } from '../../dev/postgres/migrate.ts';
import { startPostgres } from '../../dev/postgres/server.ts';
import { rejectSecrets, workerPassword } from './secrets.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The superuser’s connection string. Replace the path for another database of the cluster. */
    postgres: string;
    /** The folder of the Worker’s bundle, as wrangler builds it for production. */
    bundle: string;
    /** The folder where each store of the suite writes the log of its Worker. */
    logs: string;
  }
}

export const template = 'fusion_template';

/**
 * Starts one PostgreSQL and builds one bundle for all test files. Each file creates its databases from the template.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-test-'));
  const bundle = join(dir, 'bundle');
  const logs = join(dir, 'logs');
  await mkdir(logs);
  const wrangler = promisify(execFile)('npx', ['wrangler', 'deploy', '--dry-run', '--outdir', bundle], {
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' },
  });
  const postgres = await startPostgres({ dir: join(dir, 'postgres'), port: 0, durable: false });
  const client = new pg.Client(postgres.url('postgres'));
  await client.connect();
  // The owner is not a superuser, as on Neon.
  await client.query(`create role fusion_owner login createrole password 'owner'`);
  await client.query(`create database ${template} owner fusion_owner`);
  await client.end();
  const inTemplate = new pg.Client(postgres.url(template));
  await inTemplate.connect();
  await revokeLargeObjects(inTemplate).finally(() => inTemplate.end());
  const owner = new URL(postgres.url(template));
  owner.username = 'fusion_owner';
  owner.password = 'owner';
  await migrate({ url: owner.href, workerPassword });
  await wrangler;
  project.provide('postgres', postgres.url('postgres'));
  project.provide('bundle', bundle);
  project.provide('logs', logs);
  return async () => {
    await postgres.remove();
    // A secret in a log fails the run, whichever test caused it.
    await rejectSecrets(logs).finally(() => rm(dir, { recursive: true, force: true }));
  };
}
