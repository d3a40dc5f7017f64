import { defaultCell, isCellName } from './cells.ts';

/** Crockford's base 32: without letters that look like digits. */
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * A new code of a team for its share link: 80 random bits as 16 characters. In any cell but the default
 * one, the code begins with the cell's name (`eu1-…`), because a link preview has no key that names the cell.
 */
export function makeTeamCode(cell: string): string {
  let bits = 0n;
  for (const byte of crypto.getRandomValues(new Uint8Array(10))) bits = (bits << 8n) | BigInt(byte);
  let code = '';
  for (let place = 0; place < 16; place++, bits >>= 5n) code += alphabet[Number(bits & 31n)];
  return cell === defaultCell ? code : `${cell}-${code}`;
}

/** What a code looks like: the name of a cell, unless it is the default cell, and 16 characters of the alphabet. */
export const teamCodeFormat = /^(?:[a-z][a-z0-9]{1,11}-)?[0-9a-hjkmnp-tv-z]{16}$/;

/** The cell that a code names. A code without a configured cell belongs to the default cell. */
export function cellOfTeamCode(code: string, cells: Pick<ReadonlyMap<string, unknown>, 'has'>): string {
  const [name, rest] = code.split('-', 2);
  return rest !== undefined && name !== undefined && isCellName(name) && cells.has(name) ? name : defaultCell;
}
