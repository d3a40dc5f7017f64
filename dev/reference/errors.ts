import type { OpenApi } from './openapi.ts';

/** The codes of problems in Markdown, a heading for each: a problem's `type` names it. */
export function errorsInMarkdown({ components }: OpenApi): string {
  const codes = Object.values(components.examples).map(({ value }) => value);
  const rows = codes.map(
    ({ code, status, detail }) => `| \`${code}\` | ${status} | ${detail.replaceAll('|', '\\|')} |\n`,
  );
  return `## Errors

Every error is a problem document (RFC 9457). Programs switch on \`code\`. The list of codes is complete.

| Code | Status | Meaning |
| --- | --- | --- |
${rows.join('')}`;
}
