import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';

/**
 * How many sequences, from which seed: `MODEL_RUNS=10` times as many, `MODEL_SEED=7`. A failure prints its seed and its
 * commands; `MODEL_SHRINK=1` looks for fewer, which takes minutes.
 */
export const modelRuns = (runs: number) => ({
  numRuns: runs * Number(process.env.MODEL_RUNS ?? 1),
  seed: Number(process.env.MODEL_SEED ?? 20261122),
  // So few runs would otherwise be spent on the smallest and the largest of all values.
  unbiased: true,
  endOnFailure: process.env.MODEL_SHRINK === undefined,
});

/** The same value with its members in one order, and without what only the model knows. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).filter(([name]) => name !== 'atStripe');
  return Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, of]) => [name, plain(of)]));
}

/**
 * Waits until what is seen is one of these states, and answers that one. What was lost at Stripe is asked for again by
 * `remind`. Fails with what is seen instead, beside the state that was likeliest.
 */
export async function settle<S>(
  possible: S[],
  seen: () => Promise<S>,
  remind: () => Promise<void>,
  what: string,
  tries = 900,
): Promise<S> {
  const expected = new Map(possible.map((state) => [JSON.stringify(plain(state)), state]));
  expect(possible.length, `${what}: no order of the steps explains these answers`).toBeGreaterThan(0);
  for (let n = 1; ; n++) {
    const now = await seen();
    const found = expected.get(JSON.stringify(plain(now)));
    if (found) return structuredClone(found);
    if (n % 100 === 0) await remind();
    if (n === tries) expect(plain(now), `${what}: ${possible.length} states were possible`).toEqual(plain(possible[0]));
    await sleep(20);
  }
}

/** As long as a busy machine may need for what was asked for. */
export const modelTimeout = 240_000 * Number(process.env.MODEL_RUNS ?? 1);
