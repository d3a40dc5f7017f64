import { mulberry32 } from '../stripe/webhooks.ts';

/** A seeded random generator. */
export type Random = {
  /** A number in [0, 1). */
  next: () => number;
  /** An integer from `min` to `max`, both included. */
  int: (min: number, max: number) => number;
  chance: (probability: number) => boolean;
  pick: <T>(from: readonly T[]) => T;
  /** A name, with a probability in proportion to its weight. */
  pickWeighted: <K extends string>(weights: Record<K, number>) => K;
  shuffle: <T>(list: readonly T[]) => T[];
};

/** FNV-1a: derives a different seed from each name. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const letter of text) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  return hash >>> 0;
}

/** The generator of this seed and name. Its numbers do not depend on how other generators are used. */
export function seededRandom(seed: number, ...name: (string | number)[]): Random {
  const next = mulberry32(hashOf(`${seed} ${name.join(' ')}`));
  const int = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick(from) {
      const found = from[int(0, from.length - 1)];
      if (found === undefined) throw new RangeError('the list to pick from is empty');
      return found;
    },
    pickWeighted<K extends string>(weights: Record<K, number>): K {
      const entries = Object.entries(weights) as [K, number][];
      let position = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [name, weight] of entries) {
        position -= weight;
        if (position < 0) return name;
      }
      throw new RangeError('no weights to pick from');
    },
    shuffle<T>(list: readonly T[]): T[] {
      const mixed = [...list];
      for (let last = mixed.length - 1; last > 0; last--) {
        const other = int(0, last);
        const [a, b] = [mixed[last], mixed[other]] as [T, T];
        mixed[last] = b;
        mixed[other] = a;
      }
      return mixed;
    },
  };
}
