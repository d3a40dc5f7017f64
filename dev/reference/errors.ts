import type { OpenApi } from './openapi.ts';

/** Every error code in Markdown, each under its own heading. The `type` of a problem document links to that heading. */
export function errorsInMarkdown({ components }: OpenApi): string {
  const problems = Object.values(components.examples).map(({ value }) => value);
  const sections = problems.map(
    ({ code, status, title, detail }) => `### \`${code}\`\n\n**${status} ${title}.** ${detail}\n\n`,
  );
  return `## Errors

Every error is a problem document (RFC 9457). Programs switch on \`code\`. The list of codes is complete.

${sections.join('')}`;
}
