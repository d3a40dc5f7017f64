import { readDatabaseUrl } from '../postgres/connection.ts';

/** The cell whose name no key and no variable has: the database of DATABASE_URL. */
export const defaultCell = 'default';

/** The connection string of each cell, as its owner: DATABASE_URL, and DATABASE_URL_EU1 for the cell `eu1`. */
export function readCellUrls(env: NodeJS.ProcessEnv = process.env): Map<string, string> {
  const urls = new Map([[defaultCell, readDatabaseUrl()]]);
  for (const [variable, url] of Object.entries(env).sort()) {
    const name = /^DATABASE_URL_([A-Z][A-Z0-9]{1,11})$/.exec(variable)?.[1]?.toLowerCase();
    if (name === undefined || name === 'unpooled' || url === undefined || url === '') continue; // _UNPOOLED: Neon's own
    if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
      throw new Error(`${variable} must have the form postgres://user:password@host:port/database`);
    }
    urls.set(name, url);
  }
  return urls;
}
