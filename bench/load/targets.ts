import type { Figures } from './figures.ts';

export type CaseResult = Figures & {
  name: string;
  title: string;
  against: string[];
  /** SQL statements per request, including those inside functions. Null: not counted. */
  statements: number | null;
};

export type Target = {
  metric: string;
  /** The measured figure. Undefined if a case that it needs was not run. */
  reached: number | undefined;
  atLeast?: number;
  atMost?: number;
};

/** The most static responses that a rejected request may equal in the Worker's CPU. */
const mostStaticResponses = 100;

const totalCpu = ({ cpu }: Figures): number => cpu.worker + cpu.bridge + cpu.postgres;

/** The project's performance targets and the measured figures. */
export function targetsOf(results: readonly CaseResult[]): Target[] {
  const find = (name: string): CaseResult | undefined => results.find((result) => result.name === name);
  const ratio = (
    name: string,
    otherName: string,
    figure: (result: CaseResult) => number = ({ rate }) => rate,
  ): number | undefined => {
    const [result, other] = [find(name), find(otherName)];
    return result && other ? figure(result) / figure(other) : undefined;
  };
  return [
    { metric: 'order of 1 line / bare one-row insert', reached: ratio('order', 'limit-insert'), atLeast: 0.45 },
    {
      metric: 'order of 1 line / bare one-row insert, the goal',
      reached: ratio('order', 'limit-insert'),
      atLeast: 0.6,
    },
    {
      metric: "order of 1 line / bare one-row insert, the Worker's CPU",
      reached: ratio('order', 'limit-insert', ({ cpu }) => cpu.worker),
      atMost: 2.2,
    },
    {
      metric: "order of 1 line / one-statement limit, Postgres's CPU",
      reached: ratio('order', 'limit-order', ({ cpu }) => cpu.postgres),
      atMost: 3.5,
    },
    { metric: 'order of 25 lines / order of 1 line, time', reached: ratio('order', 'order-25'), atMost: 3 },
    { metric: 'order of 25 lines / order of 1 line, CPU', reached: ratio('order-25', 'order', totalCpu), atMost: 3 },
    { metric: 'order of one hot SKU / limit on one hot SKU', reached: ratio('order-hot', 'limit-hot'), atLeast: 0.3 },
    {
      metric: "order of 1 line / one-statement limit, Postgres's CPU on one connection",
      reached: ratio('order-alone', 'limit-order-alone', ({ cpu }) => cpu.postgres),
      atMost: 2.5,
    },
    {
      metric: 'decisions of holds on one SKU / limit on one hot SKU',
      reached: ratio('decide', 'limit-hot'),
      atLeast: 1,
    },
    { metric: 'join over 100 campaigns / order of 1 line', reached: ratio('join-100', 'order'), atLeast: 0.9 },
    { metric: 'join of one campaign / order of one hot SKU', reached: ratio('join', 'order-hot'), atLeast: 0.9 },
    {
      metric: 'join of teams of one campaign / order of one hot SKU',
      reached: ratio('team-join', 'order-hot'),
      atLeast: 0.85,
    },
    {
      metric: 'join of teams of 100 campaigns / order of 1 line',
      reached: ratio('team-join-100', 'order'),
      atLeast: 0.85,
    },
    { metric: 'webhook / order of 1 line', reached: ratio('webhook', 'order'), atLeast: 0.9 },
    {
      metric: 'checkout of a cart of 3 lines / order of 3 lines',
      reached: ratio('cart-checkout', 'order-3'),
      atLeast: 0.7,
    },
    {
      metric: 'cart read by its shopper / product not in the cache',
      reached: ratio('cart-read', 'product-miss'),
      atLeast: 0.5,
    },
    { metric: 'relay to Kafka, events per second', reached: find('relay')?.rate, atLeast: 5_000 },
    {
      metric: 'product from the edge cache / static response',
      reached: ratio('product-hit', 'limit-static'),
      atLeast: 0.22,
    },
    { metric: 'product from the edge cache / one lookup', reached: ratio('product-hit', 'limit-cache'), atLeast: 0.6 },
    { metric: 'product from the edge cache, database calls', reached: find('product-hit')?.calls, atMost: 0.01 },
    { metric: 'product not in the cache, database calls', reached: find('product-miss')?.calls, atMost: 1.01 },
    ...results
      .filter(({ name }) => name.startsWith('refused-'))
      .map(({ name, title }) => ({
        metric: `${title} / static response, the Worker's CPU`,
        reached: ratio(name, 'limit-static', ({ cpu }) => cpu.worker),
        atMost: mostStaticResponses,
      })),
    { metric: "order of 1 line, the Worker's CPU in ms per request", reached: find('order')?.cpu.worker, atMost: 2 },
  ];
}

/** Undefined if the figure was not measured. */
export function isMet({ reached, atLeast, atMost }: Target): boolean | undefined {
  if (reached === undefined) return undefined;
  return reached >= (atLeast ?? Number.NEGATIVE_INFINITY) && reached <= (atMost ?? Number.POSITIVE_INFINITY);
}
