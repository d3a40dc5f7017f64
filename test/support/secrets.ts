import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What the Worker logs in to the database with; long enough to be told from other words in a log. */
export const workerPassword = 'planted-database-password';

/** What a store's Worker proves itself to its database with. */
export const jobSecret = 'planted-job-secret-of-more-than-32-characters';

/** What no line of a Worker's log may hold: shapes of secrets, and what the suite plants where secrets and buyers are. */
const forbidden: Record<string, RegExp> = {
  'a key': /\b[sp]k_(?:live|test|dev)_\w{8,}/,
  'a live token': /\blt_[0-9a-f-]{36}_/,
  'the hash of a key': /\b[0-9a-f]{64}\b/,
  'the password of the database': new RegExp(workerPassword),
  'the secret of the jobs': new RegExp(`${jobSecret}|\\bjs_\\w{8,}`),
  'a connection string': /postgres(?:ql)?:\/\//,
  'the credentials of Kafka': /ZGV2OmRldg/, // dev:dev, as a header has it
  'the secret key of Stripe': /\bsk_test_dev\b/,
  'the secret of a webhook': /\bwhsec_/,
  'the client secret of a payment': /_secret_\w{6,}/,
  'a header with credentials': /\b(?:bearer|basic) +[\w+/=-]{6,}/i,
  'a signature': /\bv1=[0-9a-f]{16,}/,
  'SQL or its parameters': /\bselect [\w.]+\(|\binsert into\b|Failed query|\bparams:/i,
  'what was planted': /PLANTED/i,
};

/** Which kinds of secret a text holds, each with the line that it was found in first. */
export function secretsIn(text: string): string[] {
  return Object.entries(forbidden).flatMap(([name, form]) => {
    if (!form.test(text)) return [];
    return [`${name}: ${text.split('\n').find((line) => form.test(line)) ?? '(over several lines)'}`];
  });
}

/** Throws if any file of a folder holds a secret. Files are what a Worker has logged, from its start to its end. */
export async function refuseSecrets(dir: string): Promise<void> {
  const found = new Set<string>();
  for (const name of await readdir(dir)) {
    for (const secret of secretsIn(await readFile(join(dir, name), 'utf8'))) found.add(secret);
  }
  if (found.size > 0) throw new Error(`a Worker's log holds\n${[...found].join('\n')}`);
}
