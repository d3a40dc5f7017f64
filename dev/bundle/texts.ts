import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The texts of all files in a folder whose names have this ending. */
export async function readTexts(folder: string, end: string): Promise<string[]> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(end));
  return Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
}
