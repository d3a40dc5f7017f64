import { beforeEach, expect, test, vi } from 'vitest';
import { relaySoon } from '../../../src/events/relay.ts';
import { publishEvents } from '../../../src/http/publish-events.ts';
import { appWith, countingDatabase } from '../../support/middleware.ts';

vi.mock(import('../../../src/events/relay.ts'), async (importActual) => ({
  ...(await importActual()),
  relaySoon: vi.fn(async () => undefined),
}));
beforeEach(() => vi.clearAllMocks());

const countBackgroundTasks = async (method: string, calls: number) => {
  const db = countingDatabase();
  db.usage.calls = calls;
  const { request, backgroundTasks } = appWith([publishEvents], undefined, { db, operation: {} });
  await request('/v1/orders', { method });
  return backgroundTasks.length;
};

test('a write publishes its events after its response', async () => {
  expect(await countBackgroundTasks('POST', 1)).toBe(1);
  expect(relaySoon).toHaveBeenCalledWith({}, 'default', 'request-1', undefined);
});

test('reads, and writes that never reached the database, publish nothing', async () => {
  for (const method of ['GET', 'HEAD']) expect(await countBackgroundTasks(method, 1)).toBe(0);
  expect(await countBackgroundTasks('POST', 0)).toBe(0);
  expect(relaySoon).not.toHaveBeenCalled();
});
