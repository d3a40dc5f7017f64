import { mulberry32 } from '../stripe/webhooks.ts';

/** A seeded stream of draws. */
export type Draw = {
  /** In [0, 1). */
  next: () => number;
  /** From `least` to `most`, both included. */
  int: (least: number, most: number) => number;
  chance: (probability: number) => boolean;
  pick: <T>(from: readonly T[]) => T;
  /** A name by its weight. */
  weigh: <K extends string>(weights: Record<K, number>) => K;
  shuffle: <T>(list: readonly T[]) => T[];
};

/** FNV-1a: tells streams of one seed apart by their names. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const letter of text) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  return hash >>> 0;
}

/** The stream of that name. The same seed and name draw the same, whatever other streams have drawn. */
export function drawOf(seed: number, ...name: (string | number)[]): Draw {
  const next = mulberry32(hashOf(`${seed} ${name.join(' ')}`));
  const int = (least: number, most: number) => least + Math.floor(next() * (most - least + 1));
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick(from) {
      const found = from[int(0, from.length - 1)];
      if (found === undefined) throw new RangeError('nothing to pick from');
      return found;
    },
    weigh<K extends string>(weights: Record<K, number>): K {
      const entries = Object.entries(weights) as [K, number][];
      let at = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [name, weight] of entries) {
        at -= weight;
        if (at < 0) return name;
      }
      throw new RangeError('nothing to weigh');
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
