import { eq, sql } from 'drizzle-orm';
import type { Reader } from '../client.ts';
import { teams } from './queries.ts';

/** What a watcher of a team sees: nobody's id, and no code. */
export const teamProgress = (db: Reader, id: string) =>
  db
    .select({
      id: teams.id,
      status: teams.status,
      size: teams.size,
      joined: teams.joined,
      secured: teams.secured,
      mergedInto: teams.mergedInto,
      endTime: sql<string>`platform.iso(${teams.endTime})`,
    })
    .from(teams)
    .where(eq(teams.id, id));
