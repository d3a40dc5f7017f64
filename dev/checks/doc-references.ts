import { dirname, join } from 'node:path';

export type Page = { path: string; text: string };
/** The text of a file of the repository; undefined if there is none. */
export type Read = (path: string) => string | undefined;

const withoutCode = (text: string): string => text.replaceAll(/^ *```[\s\S]*?^ *```/gm, '');

/** The anchors that GitHub makes of a page's headings. */
export function anchorsOf(text: string): string[] {
  return [...withoutCode(text).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = '']) =>
    heading
      .trim()
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** Links to a heading that its page does not have. */
export function findAnchorFaults(pages: Page[]): string[] {
  const anchors = new Map(pages.map(({ path, text }) => [path, anchorsOf(text)]));
  return pages.flatMap(({ path, text }) =>
    [...withoutCode(text).matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)/g)]
      .filter(([, file = '', anchor = '']) => {
        const known = anchors.get(file === '' ? path : join(dirname(path), file));
        return known !== undefined && !known.includes(anchor);
      })
      .map(([, file, anchor]) => `${path} links to ${file}#${anchor}: that page has no such heading`),
  );
}

/** Names that a page gives to a file (`name` in `src/file.ts`, or several names) and that the file does not contain. */
export function findSymbolFaults({ path, text }: Page, read: Read): string[] {
  const claims = text.matchAll(
    /((?:`[\w.]+`(?:,| and)?\s+)+)in\s+`((?:src|dev|test|bench|migrations)\/[\w./-]+\.\w+)`/g,
  );
  return [...claims].flatMap(([, names = '', file = '']) =>
    [...names.matchAll(/`([\w.]+)`/g)]
      .map(([, name = '']) => name)
      .filter((name) => !new RegExp(`(?<!\\w)${name.replaceAll('.', '\\.')}(?!\\w)`).test(read(file) ?? ''))
      .map((name) => `${path} says that ${file} has ${name}, which it does not`),
  );
}

/** Tests that a page names as `test/x.test.ts`: "title" and that the file does not have. */
export function findTitleFaults({ path, text }: Page, read: Read): string[] {
  return [...text.matchAll(/`(test\/[\w./-]+\.test\.ts)`:\s+"([^"]+)"/g)]
    .filter(([, file = '', title = '']) => !read(file)?.includes(title))
    .map(([, file, title]) => `${path} names the test "${title}", which ${file} does not have`);
}

/** Rows of the table "I want to …" without a file to go to, without a command, or with a test file that is missing. */
export function findRecipeFaults({ path, text }: Page, read: Read): string[] {
  if (path !== 'CONTRIBUTING.md') return [];
  const [, table = ''] = text.split(/^## I want to …$/m);
  const rows = (table.split(/^## /m)[0] ?? '').split('\n').filter((line) => /^\| (?!-)/.test(line));
  if (rows.length < 2) return [`${path} has no table under "I want to …"`];
  return rows.slice(1).flatMap((row) => {
    const [wish = '', places = '', commands = ''] = row.replaceAll(/^\| | \|$/g, '').split(' | ');
    const lost = [...commands.matchAll(/test\/[\w./-]+\.test\.ts/g)].filter(([file]) => read(file) === undefined);
    return [
      ...(/`[\w./-]+\.\w+`|\]\(|`test\/`/.test(places) ? [] : [`${path}, "${wish}": no file to go to`]),
      ...(/`np[mx] /.test(commands) ? [] : [`${path}, "${wish}": no command to run`]),
      ...lost.map(([file]) => `${path}, "${wish}": runs ${file}, which is not there`),
    ];
  });
}
