import type { Books } from './books.ts';

/** A broken promise. `subjects`: the ids, keys or names that it is about; their history explains it. */
export type Finding = { check: string; subjects: string[]; message: string };

/** Reports that a promise is broken for these subjects. */
export type Report = (subjects: string | string[], message: string) => void;

/** One promise of the platform. `run` checks it against the books and reports where it is broken. */
export type Check = { name: string; run: (books: Books, report: Report) => void };

/** Groups rows by a name. */
export function groupBy<T>(list: readonly T[], nameOf: (row: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of list) {
    const name = nameOf(row);
    const group = groups.get(name);
    if (group) group.push(row);
    else groups.set(name, [row]);
  }
  return groups;
}

/** Converts a decimal amount to cents. All prices of a run are in USD. */
export const cents = (amount: string | number): number => Math.round(Number(amount) * 100);
export const dollars = (minor: number): string => (minor / 100).toFixed(2);
export const sum = <T>(list: readonly T[], valueOfRow: (row: T) => number): number =>
  list.reduce((total, row) => total + valueOfRow(row), 0);
