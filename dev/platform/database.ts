import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { withClient } from '../postgres/connection.ts';
import { localJobSecret, makeStartSecret, prepareLocalJobs } from '../postgres/job-secrets.ts';
import { createDatabase, foldsCase, toWorkerUrl } from '../postgres/local-database.ts';
import { migrate } from '../postgres/migrate.ts';
import { type Postgres, startPostgres } from '../postgres/server.ts';
import type { StartCallbacks } from './callbacks.ts';
import { type LocalCell, prepareCells } from './cells.ts';
import { foldersOf, recordChild } from './data-folder.ts';
import { connectAcme, seedSettings, seedTenants } from './seed.ts';
import type { DatabaseSettings, StartSettings } from './settings.ts';

type PreparedDatabase = {
  ownerUrl: string | undefined;
  workerUrl: string;
  jobSecret: string;
  seeded: boolean;
  cells: LocalCell[];
};

/** Connects to or starts the database and migrates it. Adds the development keys if it is on this machine. */
export async function prepareDatabase(settings: StartSettings, callbacks: StartCallbacks): Promise<PreparedDatabase> {
  const { database } = settings;
  const givenSecret = settings.variables.DATABASE_JOB_SECRET;
  if (database.kind === 'external' && !database.isOwner) {
    callbacks.progress.say(
      '    Database    yours, as fusion_worker. Migrations and keys need its owner: "npm run migrate", "npm run keys"',
    );
    return { ownerUrl: undefined, workerUrl: database.url, jobSecret: givenSecret ?? '', seeded: false, cells: [] };
  }
  const { url, workerPassword, isLocal, postgres } = await openDatabase(settings, database, callbacks);
  callbacks.throwIfStopped();
  const describe = (applied: string[]): string =>
    applied.length === 0 ? 'the schema is up to date' : `${applied.length} files applied`;
  await callbacks.progress.step('Migrations', () => migrate({ url, workerPassword }), describe);
  if (!(await foldsCase(url))) {
    const remedy =
      database.kind === 'external'
        ? 'create it with the locale C.UTF-8'
        : 'create it again with "npm start -- --reset"';
    callbacks.progress.say(
      `    Search      ignores case for ASCII letters only, because the database has the locale C. To fix it, ${remedy}`,
    );
  }
  // The development keys are public, so they must not work on a database that others can reach.
  if (isLocal) {
    await callbacks.progress.step(
      'Tenants',
      async () => {
        await seedTenants(url);
        await seedSettings(url);
        await connectAcme(url, settings.emulateStripe);
      },
      () => 'default and acme, with development keys',
    );
  } else
    callbacks.progress.say('    Tenants     none created: the database is remote. Create them with "npm run keys"');
  const jobSecret = await withClient(url, async (client) => {
    if (!isLocal) return givenSecret ?? makeStartSecret(client);
    await prepareLocalJobs(client, givenSecret);
    return givenSecret ?? localJobSecret;
  });
  const cells =
    postgres === undefined || settings.cells.length === 0
      ? []
      : await callbacks.progress.step(
          'Cells',
          () => prepareCells(postgres, settings.cells, jobSecret),
          () => `${settings.cells.join(', ')}: databases of the same PostgreSQL, with tenants and keys of their own`,
        );
  return { ownerUrl: url, workerUrl: toWorkerUrl(url, workerPassword), jobSecret, seeded: isLocal, cells };
}

async function openDatabase(
  settings: StartSettings,
  database: DatabaseSettings,
  callbacks: StartCallbacks,
): Promise<{ url: string; workerPassword: string; isLocal: boolean; postgres?: Postgres }> {
  if (database.kind === 'external') {
    const { host } = new URL(database.url);
    callbacks.progress.say(`    Database    yours, at ${host} (unset DATABASE_URL for the embedded PostgreSQL)`);
    return { url: database.url, workerPassword: database.workerPassword ?? '', isLocal: database.isLocal };
  }
  const folders = foldersOf(settings.dir);
  const log = createWriteStream(join(folders.logs, 'postgres.log'), { flags: 'a' });
  const postgres = await callbacks.progress.step(
    'PostgreSQL',
    () =>
      startPostgres({
        dir: folders.postgres,
        port: settings.ports.postgres.port,
        durable: true,
        log: (line) => log.write(`${line}\n`),
      }),
    ({ port, dir }) => `127.0.0.1:${port}, a real server${dir === folders.postgres ? '' : `; data in ${dir}`}`,
  );
  callbacks.onPartStarted('PostgreSQL', postgres.stop);
  await recordChild(settings.dir, postgres.pid);
  void postgres.exited.then((reason) => callbacks.onPartExited('PostgreSQL', reason));
  return { url: await createDatabase(postgres), workerPassword: 'fusion_worker', isLocal: true, postgres };
}
