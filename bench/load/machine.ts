import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { repository } from '../../dev/platform/settings.ts';

export type Machine = {
  cpu: string;
  cores: number;
  memoryGb: number;
  system: string;
  postgres: string;
  /** The PostgreSQL settings that decide how much a commit costs. */
  durability: Record<string, string>;
  versions: Record<string, string>;
  commit: string;
};

const versionOf = (name: string): string => {
  const text = readFileSync(join(repository, 'node_modules', name, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
};

function commitOf(): string {
  try {
    const git = (...args: string[]): string => execFileSync('git', args, { cwd: repository, encoding: 'utf8' }).trim();
    const changed = git(
      'status',
      '--porcelain',
      '--',
      'src',
      'migrations',
      'bench',
      ':!bench/results',
      'dev',
      'package-lock.json',
    );
    return `${git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : ' and uncommitted changes'}`;
  } catch {
    return 'unknown';
  }
}

/** The machine, the versions and the commit that the figures belong to. */
export async function describeMachine(pool: pg.Pool): Promise<Machine> {
  const { rows } = await pool.query<{ name: string; setting: string }>(
    `select name, setting from pg_settings
     where name in ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers') order by name`,
  );
  const { server_version: postgres = '', ...durability } = Object.fromEntries(
    rows.map(({ name, setting }) => [name, setting]),
  );
  const cores = cpus();
  return {
    cpu: cores[0]?.model ?? 'unknown',
    cores: cores.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    postgres,
    durability,
    versions: {
      node: process.versions.node,
      ...Object.fromEntries(
        ['workerd', 'miniflare', 'wrangler', 'autocannon', 'pg'].map((name) => [name, versionOf(name)]),
      ),
    },
    commit: commitOf(),
  };
}
