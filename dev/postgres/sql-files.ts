import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export type SqlFile = { name: string; text: string; sha256: string };

/** Reads the migrations of a folder, oldest first. Throws if a name is not `YYYYMMDDHHMMSS_description.sql`. */
export async function readMigrations(dir: string): Promise<SqlFile[]> {
  const files = await readSqlFiles(dir);
  for (const { name } of files) {
    if (!/^\d{14}_[a-z0-9_]+\.sql$/.test(name))
      throw new Error(`${name} is not named YYYYMMDDHHMMSS_description.sql: rename it`);
  }
  return files;
}

/**
 * Reads the files of SQL functions of a folder, ordered by name and each after the files that its first line requires
 * (`-- requires: platform/access.sql, platform/events.sql`). Throws if a required file is missing or in a cycle.
 */
export async function readFunctions(dir: string): Promise<SqlFile[]> {
  const files = new Map((await readSqlFiles(dir)).map((file) => [file.name, file]));
  const ordered = new Map<string, SqlFile>();
  const visit = (name: string, path: string[]): void => {
    if (ordered.has(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new Error(`${path.at(-1)} requires ${name}, which is not in ${dir}`);
    if (path.includes(name)) throw new Error(`SQL files require each other in a cycle: ${[...path, name].join(' → ')}`);
    for (const needed of requirements(file)) visit(needed, [...path, name]);
    ordered.set(name, file);
  };
  for (const name of files.keys()) visit(name, []);
  return [...ordered.values()];
}

function requirements({ text }: SqlFile): string[] {
  const match = /^-- requires:(.*)/.exec(text);
  return (match?.[1] ?? '').split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()]));
}

async function readSqlFiles(dir: string): Promise<SqlFile[]> {
  const names = (await readdir(dir, { recursive: true }))
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.sql'))
    .sort();
  return Promise.all(
    names.map(async (name) => {
      // A checkout on Windows may have other line breaks. The hash ignores them.
      const text = (await readFile(join(dir, name), 'utf8')).replaceAll('\r\n', '\n');
      return { name, text, sha256: createHash('sha256').update(text).digest('hex') };
    }),
  );
}
