import { defaultCell, isCellName } from '../../src/base/cells.ts';
import { readDatabaseUrl } from '../postgres/connection.ts';

export { defaultCell };

/** The name of a cell's variable: `DATABASE_URL` for the default cell, `DATABASE_URL_EU1` for the cell `eu1`. */
export const variableOf = (variable: string, cell: string): string =>
  cell === defaultCell ? variable : `${variable}_${cell.toUpperCase()}`;

/** The connection string of one cell, as its owner. Throws an error that says how to set it. */
export function readCellUrl(cell: string, env: NodeJS.ProcessEnv = process.env): string {
  if (cell !== defaultCell && !isCellName(cell)) {
    throw new Error(`${cell} is not the name of a cell: it must have 2 to 12 small letters and digits, such as eu1`);
  }
  return readDatabaseUrl(variableOf('DATABASE_URL', cell), env);
}

/** The connection string of each cell, as its owner: DATABASE_URL, and DATABASE_URL_EU1 for the cell `eu1`. */
export function readCellUrls(env: NodeJS.ProcessEnv = process.env): Map<string, string> {
  const urls = new Map([[defaultCell, readCellUrl(defaultCell, env)]]);
  for (const variable of Object.keys(env).sort()) {
    const name = /^DATABASE_URL_([A-Z0-9]+)$/.exec(variable)?.[1]?.toLowerCase();
    if (name === undefined || name === 'unpooled' || !env[variable]) continue; // _UNPOOLED: Neon's own
    urls.set(name, readCellUrl(name, env));
  }
  return urls;
}
