import { expect, inject, test } from 'vitest';
import { listFindings } from '../../dev/chaos/report.ts';
import { runChaos } from '../../dev/chaos/run.ts';
import { faultKinds, planFaults } from '../../dev/chaos/schedule.ts';

/** A short run of `npm run chaos`, with every kind of fault at least once. */
const short = { seed: 20_261_122, loadMs: 32_000, gapMs: 850, people: 8, finalRetryMs: 240_000, settleMs: 420_000 };

test('with every kind of fault, nothing is lost, nothing happens twice, and every response is true', async () => {
  const planned = new Set(planFaults(short.seed, short.loadMs, short.gapMs).map(({ kind }) => kind));
  expect([...planned].sort()).toEqual([...faultKinds].sort());
  const { findings, books, lines } = await runChaos(
    { ...short, bundle: inject('bundle') },
    () => undefined,
    new AbortController().signal,
  );
  // The findings first: a CI may cut the rest.
  if (findings.length > 0) expect.fail([...listFindings(findings), `seed ${short.seed}`, ...lines].join('\n'));
  expect(books?.orders.length).toBeGreaterThan(0);
  expect(books?.payments.some(({ status }) => status === 'succeeded')).toBe(true);
}, 900_000);
