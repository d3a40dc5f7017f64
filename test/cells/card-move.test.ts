import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProduct, type Database, type Store, startStore } from '../support/harness.ts';

// The tenant acme has moved from the default cell to c2. Its teams have kept their codes, which do not name c2.

let store: Store;
let c2: Database;
let key: string;
const codes = { 'before the purge': '0000000000000001', 'after the purge': '0000000000000002' };
beforeAll(async () => {
  store = await startStore({ cells: ['c2'] });
  c2 = store.cells.c2?.database as Database;
  for (const [database, name] of [[store.database, 'Old'] as const, [c2, 'New'] as const]) {
    key = await database.key({ tenant: 'acme' });
    const acme = { ...store, send: withKey(key) };
    const product = await addProduct(acme, 'CARD', 9, 10, { name });
    const { body: campaign } = await acme.send('POST', '/v1/campaigns', {
      ...{ productId: product.id, mode: 'teams', teamSize: 2, teamSeconds: 3_600, price: 9 },
      startTime: new Date(Date.now() - 60_000).toISOString(),
      endTime: new Date(Date.now() + 3_600_000).toISOString(),
    });
    for (const code of Object.values(codes)) {
      const { body } = await acme.send('POST', `/v1/campaigns/${campaign.id}/teams`, { userId: code });
      await database.query('update group_commerce.teams set code = $2 where id = $1', [body.team.id, code]);
    }
  }
});
afterAll(() => store.close());

const withKey =
  (of: string): Store['send'] =>
  (method, path, body, more = {}) =>
    store.send(method, path, body, { key: of, ...more });
const titleOf = async (code: string) => {
  const reply = await store.send('GET', `/v1/teams/by-code/${code}/card`, undefined, { key: null });
  return reply.status === 200 ? reply.body.title : reply.status;
};

test('a card is that of the new cell, before and after the purge of the old rows', async () => {
  await store.database.query(
    `insert into platform.tenant_moves (id, move_id, state, cell, started_at, moved_at)
     values ('acme', gen_random_uuid(), 'moved', 'c2', now(), now())`,
  );
  expect(await titleOf(codes['before the purge'])).toBe('New');
  await store.database.query(`update platform.tenant_moves set purged_at = now() where id = 'acme'`);
  await store.database.query(`update group_commerce.teams set code = 'gone' || id where tenant_id = 'acme'`);
  expect(await titleOf(codes['after the purge'])).toBe('New');
  expect(await titleOf('0000000000000003')).toBe(404);
});
