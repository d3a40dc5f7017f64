import type { OpenApi } from './openapi.ts';

/**
 * A heading whose name Scalar shows as it is, underscores included. Scalar finds the headings for its sidebar by regular
 * expressions, which take two underscores of a word for emphasis. It leaves text between asterisks alone, and then removes
 * the comments. Its Markdown parser ignores the comments, too. A heading in backticks would get an empty id.
 */
export const verbatimHeading = (name: string): string => `### <!--*-->${name}<!--*-->`;

/** Every error code in Markdown, each under its own heading. The `type` of a problem document links to that heading. */
export function errorsInMarkdown({ components }: OpenApi): string {
  const problems = Object.values(components.examples).map(({ value }) => value);
  const sections = problems.map(
    ({ code, status, title, detail }) => `${verbatimHeading(code)}\n\n**${status} ${title}.** ${detail}\n\n`,
  );
  return `## Errors

Every error is a problem document (RFC 9457). Programs switch on \`code\`. The list of codes is complete.

${sections.join('')}`;
}
