import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';

/**
 * The number and seed of command sequences: `MODEL_RUNS=10` runs ten times as many, `MODEL_SEED=7` sets the seed. A
 * failure prints its seed and its commands. `MODEL_SHRINK=1` searches for fewer commands, which takes minutes.
 */
export const modelRuns = (runs: number) => ({
  numRuns: runs * Number(process.env.MODEL_RUNS ?? 1),
  seed: Number(process.env.MODEL_SEED ?? 20261122),
  // Otherwise so few runs would mostly test the smallest and largest values.
  unbiased: true,
  endOnFailure: process.env.MODEL_SHRINK === undefined,
});

/** The same value with sorted members, without the members that only the model knows. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).filter(([name]) => name !== 'atStripe');
  return Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, of]) => [name, plain(of)]));
}

/**
 * Waits until the store is in one of the possible states, and returns it. `remind` lets the store retry what was lost
 * at Stripe. Fails with the actual state, compared to the first possible one.
 */
export async function settle<S>(
  possible: S[],
  readState: () => Promise<S>,
  remind: () => Promise<void>,
  what: string,
  tries = 900,
): Promise<S> {
  const expected = new Map(possible.map((state) => [JSON.stringify(plain(state)), state]));
  expect(possible.length, `${what}: no order of the steps explains these answers`).toBeGreaterThan(0);
  for (let n = 1; ; n++) {
    const now = await readState();
    const found = expected.get(JSON.stringify(plain(now)));
    if (found) return structuredClone(found);
    if (n % 100 === 0) await remind();
    if (n === tries) expect(plain(now), `${what}: ${possible.length} states were possible`).toEqual(plain(possible[0]));
    await sleep(20);
  }
}

/** The time that a busy machine may need for these runs. */
export const modelTimeout = 240_000 * Number(process.env.MODEL_RUNS ?? 1);
