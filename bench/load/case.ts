import type { Fixture } from '../fixture/fixture.ts';
import type { Loaded, LoadJob, OpenCart } from './job.ts';
import type { LimitJob } from './limit-child.ts';
import type { Loader } from './load.ts';
import type { Shop } from './seed.ts';
import type { CartShop } from './seed-carts.ts';

export type Bench = {
  fixture: Fixture;
  shop: Shop;
  cartShop: CartShop;
  load: Loader<LoadJob, Loaded>;
  limit: Loader<LimitJob, Loaded>;
  file: string | undefined;
  /** How many requests a second the latest turn of each case has reached, by the case's name. */
  rates: Map<string, number>;
};

/** One measurement of a case. `seed` differs each time because Idempotency-Keys are made from it. */
export type Turn = {
  clients: number;
  for: { seconds: number } | { amount: number };
  seed: number;
  /** Not counted. Cases with a fixed amount of work do less of it. */
  warmUp?: boolean;
};

/** The number of requests of a turn: its amount, or its seconds at `rate` requests per second. */
export const amountOf = (turn: Turn, rate: number): number =>
  'amount' in turn.for ? turn.for.amount : Math.round(turn.for.seconds * rate);

/**
 * The sinks that deliver events while a case runs. Events for the other sinks wait and are deleted after the case.
 * `kafka`: events go to Kafka only, so our own consumers (which open an order's payment) do nothing.
 */
export type Sinks = 'none' | 'kafka' | 'all';

export type Case = {
  name: string;
  title: string;
  /** A limit of the machine, measured without the API. */
  isLimit?: true;
  /** Names of the cases that its rate is compared with. */
  against: string[];
  sinks: Sinks;
  /** Whether its SQL statements are counted: it calls the database through the Worker. */
  counted: boolean;
  /** Creates the rows that `run` needs. Not measured. */
  prepare?: (bench: Bench, turn: Turn) => Promise<Prepared>;
  run: (bench: Bench, turn: Turn, prepared: Prepared) => Promise<Loaded>;
};

/**
 * Payments that wait for their webhook, carts that wait for their checkout, or the ids of teams that are forming. Empty
 * if the case needs none.
 */
export type Prepared = {
  payments?: { paymentId: string; intentId: string }[];
  carts?: OpenCart[];
  teams?: string[];
};
