import { grouped } from '../progress.ts';

const mostNamed = 5;

/** One line of the audit: what the file says, what is found, and the first few things that differ. */
type Line = { what: string; file: string; found: string; differences: number; named: string[] };

/** A line that is being checked. `close` ends it, with the two sides that a reader compares: they may not differ and pass. */
export type Check = { differ: (text: string) => void; close: (file: string, found: string) => void };

/** Collects what an audit finds. */
export class Findings {
  readonly #lines: Line[] = [];
  readonly #notes: string[] = [];

  check(what: string): Check {
    const line: Line = { what, file: '?', found: '?', differences: 0, named: [] };
    this.#lines.push(line);
    const differ = (text: string): void => {
      line.differences++;
      if (line.named.length < mostNamed) line.named.push(text);
    };
    const close = (file: string, found: string): void => {
      Object.assign(line, { file, found });
      if (file !== found && line.differences === 0) differ(`${found} in place of ${file}`);
    };
    return { differ, close };
  }

  /** Says something that is no difference. */
  note(text: string): void {
    this.#notes.push(text);
  }

  get differences(): number {
    return this.#lines.reduce((sum, line) => sum + line.differences, 0);
  }

  /** The table (without what neither side has), what differs, and the notes. */
  lines(): string[] {
    const told = this.#lines.filter((line) => line.differences > 0 || line.file !== '0' || line.found !== '0');
    const rows = told.map(({ what, file, found, differences }) => {
      return [what, file, found, differences === 0 ? 'ok' : `${grouped(differences)} differ`];
    });
    const table = [['', 'file', 'found', ''], ...rows];
    const width = (column: number): number => Math.max(...table.map((row) => row[column]?.length ?? 0));
    const [first, second, third] = [width(0), width(1), width(2)];
    const shown = table.map(([what = '', file = '', found = '', outcome = '']) =>
      `  ${what.padEnd(first)}  ${file.padStart(second)}  ${found.padStart(third)}  ${outcome}`.trimEnd(),
    );
    for (const { what, differences, named } of this.#lines.filter((line) => line.differences > 0)) {
      shown.push('', `  ${what}:`, ...named.map((text) => `    ${text}`));
      if (differences > named.length) shown.push(`    and ${grouped(differences - named.length)} more`);
    }
    if (this.#notes.length > 0) shown.push('', ...this.#notes.map((text) => `  ${text}`));
    return shown;
  }
}
