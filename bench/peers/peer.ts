import type pg from 'pg';
import type { Program } from './process.ts';

export type PeerOptions = {
  /** Where npm installed it. */
  dir: string;
  port: number;
  /** An empty database, as its owner. */
  databaseUrl: string;
  /** As a superuser of the same server. */
  pool: pg.Pool;
  /** Told of every process that is started, so that Ctrl-C can end it. */
  started: (program: Program) => void;
};
