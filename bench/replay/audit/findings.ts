import { grouped } from '../progress.ts';

const maxExamples = 5;

/** One line of the audit: the value in the file, the value found, and examples of differences. */
type Line = { title: string; file: string; found: string; differences: number; examples: string[] };

/**
 * A line that is being checked. `differ` adds a difference. `close` sets both values; if they differ, that is a
 * difference too.
 */
export type Check = { differ: (text: string) => void; close: (file: string, found: string) => void };

/** Collects what an audit finds. */
export class Findings {
  readonly #lines: Line[] = [];
  readonly #notes: string[] = [];

  check(title: string): Check {
    const line: Line = { title, file: '?', found: '?', differences: 0, examples: [] };
    this.#lines.push(line);
    const differ = (text: string): void => {
      line.differences++;
      if (line.examples.length < maxExamples) line.examples.push(text);
    };
    const close = (file: string, found: string): void => {
      Object.assign(line, { file, found });
      if (file !== found && line.differences === 0) differ(`${found} instead of ${file}`);
    };
    return { differ, close };
  }

  /** Adds a note, which does not count as a difference. */
  note(text: string): void {
    this.#notes.push(text);
  }

  get differences(): number {
    return this.#lines.reduce((sum, line) => sum + line.differences, 0);
  }

  /** The printed report: the table (without lines that are 0 on both sides), the differences, and the notes. */
  lines(): string[] {
    const shownLines = this.#lines.filter((line) => line.differences > 0 || line.file !== '0' || line.found !== '0');
    const rows = shownLines.map(({ title, file, found, differences }) => {
      return [title, file, found, differences === 0 ? 'ok' : `${grouped(differences)} differ`];
    });
    const table = [['', 'file', 'found', ''], ...rows];
    const width = (column: number): number => Math.max(...table.map((row) => row[column]?.length ?? 0));
    const [first, second, third] = [width(0), width(1), width(2)];
    const report = table.map(([title = '', file = '', found = '', outcome = '']) =>
      `  ${title.padEnd(first)}  ${file.padStart(second)}  ${found.padStart(third)}  ${outcome}`.trimEnd(),
    );
    for (const { title, differences, examples } of this.#lines.filter((line) => line.differences > 0)) {
      report.push('', `  ${title}:`, ...examples.map((text) => `    ${text}`));
      if (differences > examples.length) report.push(`    and ${grouped(differences - examples.length)} more`);
    }
    if (this.#notes.length > 0) report.push('', ...this.#notes.map((text) => `  ${text}`));
    return report;
  }
}
