import type pg from 'pg';
import type { Program } from './process.ts';

export type PeerOptions = {
  /** The folder in which npm has installed the peer. */
  dir: string;
  port: number;
  /** The connection string of an empty database, as its owner. */
  databaseUrl: string;
  /** Connections as a superuser of the same server. */
  pool: pg.Pool;
  /** Called with every process that is started, so that Ctrl-C can end it. */
  started: (program: Program) => void;
};
