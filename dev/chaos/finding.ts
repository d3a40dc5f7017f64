import type { Books } from './books.ts';

/** Something that must not be so. `about`: the ids whose history explains it. */
export type Finding = { check: string; about: string[]; said: string };

/** One promise, held against the books. */
export type Check = {
  name: string;
  run: (books: Books, find: (about: string | string[], said: string) => void) => void;
};

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

/** Decimal money as an integer of hundredths: all that a run sells is in USD. */
export const cents = (amount: string | number): number => Math.round(Number(amount) * 100);
export const dollars = (minor: number): string => (minor / 100).toFixed(2);
export const sum = <T>(list: readonly T[], of: (row: T) => number): number =>
  list.reduce((total, row) => total + of(row), 0);
