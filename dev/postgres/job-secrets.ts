import { createHash, randomBytes } from 'node:crypto';
import type pg from 'pg';

type Queryable = Pick<pg.Client | pg.Pool, 'query'>;

/** A stored job secret. Only its SHA-256 is stored. */
export type JobSecretRow = { sha256: string; name: string; created_at: Date };

/** The job secret of local databases. Like the seeded API keys, it is public. */
export const localJobSecret = 'js_local_0123456789abcdefghijklmnopqrstuvwxyz';

const digest = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/** Creates a secret of 256 random bits, stores its SHA-256 and returns the secret. Older secrets stay valid. */
export async function makeJobSecret(client: Queryable, name: string): Promise<string> {
  const secret = `js_${randomBytes(32).toString('base64url')}`;
  await addJobSecret(client, secret, name);
  return secret;
}

/** Stores a secret. Clients that send it can run jobs. */
export async function addJobSecret(client: Queryable, secret: string, name: string): Promise<void> {
  const statement = 'insert into platform.job_secrets (sha256, name) values ($1, $2) on conflict do nothing';
  await client.query(statement, [digest(secret), name]);
}

/** Creates the job secret of one `npm start` on an external database. Deletes the secret of the last start. */
export async function makeStartSecret(client: Queryable): Promise<string> {
  await client.query(`delete from platform.job_secrets where name = 'npm start'`);
  return makeJobSecret(client, 'npm start');
}

/** For tests and the local platform: stores their job secret, and allows calls to pass the current time. */
export async function prepareLocalJobs(client: Queryable, secret = localJobSecret): Promise<void> {
  await addJobSecret(client, secret, 'local');
  await client.query('update platform.security set passed_clock = true');
}

/** Lists the job secrets, oldest first. */
export async function listJobSecrets(client: Queryable): Promise<JobSecretRow[]> {
  const statement = 'select sha256, name, created_at from platform.job_secrets order by created_at, sha256';
  return (await client.query<JobSecretRow>(statement)).rows;
}

/** Deletes the job secret whose SHA-256 starts with `start`. Throws if there is none, or more than one. */
export async function revokeJobSecret(client: Queryable, start: string): Promise<JobSecretRow> {
  const [found, ...rest] = (await listJobSecrets(client)).filter(
    ({ sha256 }) => start !== '' && sha256.startsWith(start),
  );
  if (found === undefined)
    throw new Error(
      `there is no job secret whose SHA-256 starts with ${start}: list them with "npm run keys -- jobs list"`,
    );
  if (rest.length > 0) throw new Error(`several job secrets start with ${start}: pass more digits of the SHA-256`);
  await client.query('delete from platform.job_secrets where sha256 = $1', [found.sha256]);
  return found;
}

/** Reads whether the database rejects jobs without a secret (`sealed`), and the number of secrets. */
export async function readJobState(client: Queryable): Promise<{ sealed: boolean; secrets: number }> {
  const statement = `select s.sealed, (select count(*)::int from platform.job_secrets) as secrets from platform.security s`;
  const [row] = (await client.query<{ sealed: boolean; secrets: number }>(statement)).rows;
  if (row === undefined) throw new Error('platform.security is empty: run "npm run migrate" first');
  return row;
}

/** Makes the database reject jobs without a secret. Throws if there is no secret, because no job could run. */
export async function sealJobs(client: Queryable): Promise<void> {
  const { secrets } = await readJobState(client);
  if (secrets === 0) throw new Error('there is no job secret yet: create one first with "npm run keys -- jobs make"');
  await client.query('update platform.security set sealed = true');
}
