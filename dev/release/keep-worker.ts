import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { runTool } from '../checks/checks.ts';
import { repository } from '../platform/settings.ts';

const run = promisify(execFile);
const help = `node dev/release/keep-worker.ts [commit]

Bundles the Worker of a commit (default: HEAD) into test/fixtures/worker-previous.js.gz. During a deployment, the
previous Worker still runs after the next version has migrated the database. test/database/rolling-deploy.test.ts checks
this: it runs the bundle on the newest schema. After each deployed release, run this command and commit the two files
that it writes.`;

/** Bundles the Worker of a commit with the currently installed packages. Resolves with a summary. */
async function keepWorker(commit: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-worker-'));
  try {
    const { stdout: hash } = await run('git', ['rev-parse', '--verify', `${commit}^{commit}`], { cwd: repository });
    const source = join(dir, 'source');
    await mkdir(source);
    await run('git', ['archive', '--output', join(dir, 'source.tar'), hash.trim()], { cwd: repository });
    await run('tar', ['-xf', join(dir, 'source.tar'), '-C', source]);
    await symlink(join(repository, 'node_modules'), join(source, 'node_modules'));
    // There, wrangler's own build command writes what the bundle needs.
    await runTool('wrangler', ['deploy', '--dry-run', '--outdir', join(dir, 'bundle')], source);
    const packed = gzipSync(await readFile(join(dir, 'bundle', 'index.js')), { level: 9 });
    const fixtures = join(repository, 'test', 'fixtures');
    await writeFile(join(fixtures, 'worker-previous.js.gz'), packed);
    await writeFile(
      join(fixtures, 'worker-previous.json'),
      `${JSON.stringify({ commit: hash.trim() }, undefined, 2)}\n`,
    );
    return `Kept the Worker of commit ${hash.slice(0, 8)}: ${Math.round(packed.length / 1024)} KiB`;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

if (process.argv.includes('--help')) console.log(help);
else console.log(await keepWorker(process.argv[2] ?? 'HEAD'));
