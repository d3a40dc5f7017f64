import { withClient } from '../postgres/connection.ts';
import { localJobSecret, prepareLocalJobs } from '../postgres/job-secrets.ts';
import { createDatabase, toWorkerUrl } from '../postgres/local-database.ts';
import { migrate } from '../postgres/migrate.ts';
import type { Postgres } from '../postgres/server.ts';
import { seedSettings, seedTenants } from './seed.ts';

/** A cell of the local platform beside the default cell: another database of the same PostgreSQL. */
export type LocalCell = { name: string; databaseUrl: string };

const workerPassword = 'fusion_worker';

/** Creates and migrates the databases of these cells, and adds their development keys. Safe to repeat. */
export async function prepareCells(
  postgres: Postgres,
  names: string[],
  jobSecret = localJobSecret,
): Promise<LocalCell[]> {
  const cells: LocalCell[] = [];
  for (const name of names) {
    const databaseUrl = await createDatabase(postgres, `fusion_${name}`);
    await migrate({ url: databaseUrl, workerPassword });
    await seedTenants(databaseUrl, name);
    await seedSettings(databaseUrl);
    await withClient(databaseUrl, (client) => prepareLocalJobs(client, jobSecret));
    cells.push({ name, databaseUrl });
  }
  return cells;
}

/** The Worker's variables for these cells. */
export const cellVariables = (cells: LocalCell[]): Record<string, string> =>
  Object.fromEntries(
    cells.map(({ name, databaseUrl }) => [
      `DATABASE_URL_${name.toUpperCase()}`,
      toWorkerUrl(databaseUrl, workerPassword),
    ]),
  );
