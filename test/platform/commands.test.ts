import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { repository } from '../../dev/platform/settings.ts';
import { run } from '../../dev/support/process.ts';

const { scripts } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};
const commands = Object.entries(scripts).flatMap(([name, script]) => {
  const file = /^(?:exec )?node (\S+\.ts)$/.exec(script)?.[1];
  return file === undefined ? [] : [{ name, file: join(repository, file) }];
});

test.concurrent.each(commands)('npm run $name rejects an unknown option in one line', async ({ name, file }) => {
  const { code, output } = await run(process.execPath, ['--no-warnings', file, '--nonsense']);
  const help = basename(file) === 'start.ts' ? 'npm start' : `npm run ${name}`;
  expect({ code, output: output.trim() }).toEqual({
    code: 1,
    output: `Unknown option '--nonsense'. Run "${help} -- --help" to see the options.`,
  });
});
