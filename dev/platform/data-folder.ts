import { appendFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeData } from '../postgres/place.ts';
import { describeProcess, isGoneWithin, signal } from '../support/process.ts';

/** The subfolders of the data folder, one for each part. */
export const foldersOf = (dir: string) => ({
  postgres: join(dir, 'postgres'),
  kafka: join(dir, 'kafka'),
  stripe: join(dir, 'stripe'),
  worker: join(dir, 'worker'),
  logs: join(dir, 'logs'),
});

/**
 * Locks the data folder for this process, and ends the processes that a killed start left running. The returned
 * function releases it. Throws if another start has the lock. A process id that now belongs to another program is
 * ignored.
 */
export async function claimData(dir: string): Promise<() => Promise<void>> {
  const file = join(dir, 'owner');
  const owner = Number(await readFile(file, 'utf8').catch(() => '0'));
  const running = owner === process.pid ? null : await describeProcess(owner);
  if (running?.command.includes('start.ts')) {
    throw new Error(
      `process ${owner} already uses the data folder ${dir}: stop it first, or set DATA_DIR to another folder`,
    );
  }
  const { logs, worker } = foldersOf(dir);
  await mkdir(logs, { recursive: true });
  await mkdir(worker, { recursive: true });
  await writeFile(file, String(process.pid));
  await endLeftovers(join(dir, 'children'));
  return async () => {
    await rm(join(dir, 'children'), { force: true });
    await rm(file, { force: true });
  };
}

/** Records a child process, so that the next start can end it if this one is killed. */
export async function recordChild(dir: string, pid: number): Promise<void> {
  const running = await describeProcess(pid);
  if (running !== null) await appendFile(join(dir, 'children'), `${pid} ${running.command}\n`);
}

async function endLeftovers(file: string): Promise<void> {
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n');
  for (const line of lines) {
    const pid = Number.parseInt(line, 10);
    const running = Number.isNaN(pid) ? null : await describeProcess(pid);
    if (running === null || line !== `${pid} ${running.command}`) continue;
    for (const name of ['SIGINT', 'SIGKILL'] as const) {
      signal(-pid, name); // each child leads its own process group
      if (await isGoneWithin(pid, 10_000)) break;
    }
  }
  await rm(file, { force: true });
}

/** Deletes the data of earlier starts. Other files in the folder stay. */
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
