import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The Worker’s database password. It is long enough to be recognized in a log. */
export const workerPassword = 'planted-database-password';

/** The job secret of the test stores. */
export const jobSecret = 'planted-job-secret-of-more-than-32-characters';

/** The patterns that a Worker’s log must not contain: formats of secrets, and the values that tests plant. */
const forbidden: Record<string, RegExp> = {
  'a key': /\b(?:sk|pk|cs)_(?:live|test|dev)_\w{8,}/,
  'a live token': /\blt_(?:[a-z][a-z0-9]{1,11}_)?[0-9a-f-]{36}_/,
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

/** The kinds of secret that a text contains, each with the first line that contains it. */
export function secretsIn(text: string): string[] {
  return Object.entries(forbidden).flatMap(([name, form]) => {
    if (!form.test(text)) return [];
    return [`${name}: ${text.split('\n').find((line) => form.test(line)) ?? '(over several lines)'}`];
  });
}

/** Throws if a log file in the folder contains a secret. */
export async function rejectSecrets(dir: string): Promise<void> {
  const found = new Set<string>();
  for (const name of await readdir(dir)) {
    for (const secret of secretsIn(await readFile(join(dir, name), 'utf8'))) found.add(secret);
  }
  if (found.size > 0) throw new Error(`a Worker's log contains secrets:\n${[...found].join('\n')}`);
}
