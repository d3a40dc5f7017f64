import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeData } from './postgres-place.ts';
import { describeProcess } from './process.ts';

/** The folders within the data folder, one for each part. */
export const foldersOf = (dir: string) => ({
  postgres: join(dir, 'postgres'),
  kafka: join(dir, 'kafka'),
  stripe: join(dir, 'stripe'),
  worker: join(dir, 'worker'),
  logs: join(dir, 'logs'),
});

/**
 * Takes the data folder for this process; the returned function gives it back. Throws if another start has it. One that
 * was killed does not count, even if another program has its number by now.
 */
export async function claimData(dir: string): Promise<() => Promise<void>> {
  const file = join(dir, 'owner');
  const owner = Number(await readFile(file, 'utf8').catch(() => '0'));
  const running = owner === process.pid ? null : await describeProcess(owner);
  if (running?.command.includes('start.ts')) {
    throw new Error(`process ${owner} runs on the data in ${dir}: end it first, or set DATA_DIR to another folder`);
  }
  const { logs, worker } = foldersOf(dir);
  await mkdir(logs, { recursive: true });
  await mkdir(worker, { recursive: true });
  await writeFile(file, String(process.pid));
  return () => rm(file, { force: true });
}

/** Deletes all that earlier starts have left, and nothing else that may lie in the folder. */
export async function resetData(dir: string): Promise<void> {
  const { postgres, ...rest } = foldersOf(dir);
  await removeData(postgres);
  await Promise.all(Object.values(rest).map((folder) => rm(folder, { recursive: true, force: true })));
  await Promise.all(
    Object.values(foldersOf(dir))
      .slice(3)
      .map((folder) => mkdir(folder, { recursive: true })),
  );
}
