import type { Figures } from './figures.ts';

export type CaseResult = Figures & {
  name: string;
  title: string;
  against: string[];
  /** Statements that PostgreSQL ran for one request, those inside of functions too; null where they were not counted. */
  statements: number | null;
};

export type Target = {
  says: string;
  /** The figure that was reached, or undefined where a case that it needs was left out. */
  reached: number | undefined;
  atLeast?: number;
  atMost?: number;
};

/** A refused request may cost as much of the Worker's CPU as so many static answers. */
const mostForRefusal = 100;

const whole = ({ cpu }: Figures): number => cpu.worker + cpu.bridge + cpu.postgres;

/** What the project wants of itself, beside what was measured. */
export function targetsOf(results: readonly CaseResult[]): Target[] {
  const of = (name: string): CaseResult | undefined => results.find((result) => result.name === name);
  const ratio = (
    name: string,
    other: string,
    figure: (result: CaseResult) => number = ({ rate }) => rate,
  ): number | undefined => {
    const [above, below] = [of(name), of(other)];
    return above && below ? figure(above) / figure(below) : undefined;
  };
  return [
    { says: 'order of 1 line / bare one-row insert', reached: ratio('order', 'limit-insert'), atLeast: 0.6 },
    {
      says: "order of 1 line / one-statement limit, Postgres's CPU",
      reached: ratio('order', 'limit-order', ({ cpu }) => cpu.postgres),
      atMost: 3,
    },
    { says: 'order of 25 lines / order of 1 line, time', reached: ratio('order', 'order-25'), atMost: 3 },
    { says: 'order of 25 lines / order of 1 line, CPU', reached: ratio('order-25', 'order', whole), atMost: 3 },
    { says: 'order of one hot SKU / limit on one hot SKU', reached: ratio('order-hot', 'limit-hot'), atLeast: 0.3 },
    { says: 'the same by the queue / limit on one hot SKU', reached: ratio('order-queue', 'limit-hot'), atLeast: 1 },
    { says: 'join over 100 campaigns / order of 1 line', reached: ratio('join-100', 'order'), atLeast: 0.9 },
    { says: 'join of one campaign / order of one hot SKU', reached: ratio('join', 'order-hot'), atLeast: 0.9 },
    { says: 'webhook / order of 1 line', reached: ratio('webhook', 'order'), atLeast: 0.9 },
    { says: 'relay to Kafka, events a second', reached: of('relay')?.rate, atLeast: 5_000 },
    { says: 'product from the edge cache, database calls', reached: of('product-hit')?.calls, atMost: 0.01 },
    { says: 'product not in the cache, database calls', reached: of('product-miss')?.calls, atMost: 1.01 },
    ...results
      .filter(({ name }) => name.startsWith('refused-'))
      .map(({ name, title }) => ({
        says: `${title} / static answer, the Worker's CPU`,
        reached: ratio(name, 'limit-static', ({ cpu }) => cpu.worker),
        atMost: mostForRefusal,
      })),
    { says: "order of 1 line, the Worker's CPU in ms", reached: of('order')?.cpu.worker, atMost: 2 },
  ];
}

export function isMet({ reached, atLeast, atMost }: Target): boolean | undefined {
  if (reached === undefined) return undefined;
  return reached >= (atLeast ?? Number.NEGATIVE_INFINITY) && reached <= (atMost ?? Number.POSITIVE_INFINITY);
}
