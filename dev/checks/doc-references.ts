import { dirname, join } from 'node:path';

export type Page = { path: string; text: string };
/** The text of a file of the repository; undefined if there is none. */
export type Read = (path: string) => string | undefined;

const withoutCode = (text: string): string => text.replaceAll(/^ *```[\s\S]*?^ *```/gm, '');

/** The anchors that GitHub creates for the headings of a page. */
export function anchorsOf(text: string): string[] {
  return [...withoutCode(text).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = '']) =>
    heading
      .trim()
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** Finds links to headings that do not exist. */
export function findAnchorProblems(pages: Page[]): string[] {
  const anchors = new Map(pages.map(({ path, text }) => [path, anchorsOf(text)]));
  return pages.flatMap(({ path, text }) =>
    [...withoutCode(text).matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)/g)]
      .filter(([, file = '', anchor = '']) => {
        const known = anchors.get(file === '' ? path : join(dirname(path), file));
        return known !== undefined && !known.includes(anchor);
      })
      .map(([, file, anchor]) => `${path} links to ${file}#${anchor}, but that page has no such heading`),
  );
}

/** Finds names that a page says are in a file (`name` in `src/file.ts`, or several names) but that are not there. */
export function findSymbolProblems({ path, text }: Page, read: Read): string[] {
  const claims = text.matchAll(
    /((?:`[\w.]+`(?:,| and)?\s+)+)in\s+`((?:src|dev|test|bench|migrations)\/[\w./-]+\.\w+)`/g,
  );
  return [...claims].flatMap(([, names = '', file = '']) =>
    [...names.matchAll(/`([\w.]+)`/g)]
      .map(([, name = '']) => name)
      .filter((name) => !new RegExp(`(?<!\\w)${name.replaceAll('.', '\\.')}(?!\\w)`).test(read(file) ?? ''))
      .map((name) => `${path} says that ${name} is in ${file}, but it is not`),
  );
}

/** Finds tests that a page names as `test/x.test.ts`: "title" but that do not exist. */
export function findTitleProblems({ path, text }: Page, read: Read): string[] {
  return [...text.matchAll(/`(test\/[\w./-]+\.test\.ts)`:\s+"([^"]+)"/g)]
    .filter(([, file = '', title = '']) => !read(file)?.includes(title))
    .map(([, file, title]) => `${path} names the test "${title}", but ${file} has no such test`);
}

/** Finds rows of the table "I want to …" that have no file, no command, or a test file that does not exist. */
export function findRecipeProblems({ path, text }: Page, read: Read): string[] {
  if (path !== 'CONTRIBUTING.md') return [];
  const [, table = ''] = text.split(/^## I want to …$/m);
  const rows = (table.split(/^## /m)[0] ?? '').split('\n').filter((line) => /^\| (?!-)/.test(line));
  if (rows.length < 2) return [`${path} has no table under "I want to …"`];
  return rows.slice(1).flatMap((row) => {
    const [task = '', files = '', commands = ''] = row.replaceAll(/^\| | \|$/g, '').split(' | ');
    const missing = [...commands.matchAll(/test\/[\w./-]+\.test\.ts/g)].filter(([file]) => read(file) === undefined);
    return [
      ...(/`[\w./-]+\.\w+`|\]\(|`test\/`/.test(files) ? [] : [`${path}, "${task}": the row names no file`]),
      ...(/`np[mx] /.test(commands) ? [] : [`${path}, "${task}": the row names no command`]),
      ...missing.map(([file]) => `${path}, "${task}": runs ${file}, which does not exist`),
    ];
  });
}
