import { afterAll, beforeAll, expect, test } from 'vitest';
import { campaignFixture } from '../support/campaigns.ts';
import { type Store, startStore, until } from '../support/harness.ts';
import { type LiveEvent, watchLive } from '../support/live.ts';

let store: Store;
let fixture: ReturnType<typeof campaignFixture>;
let key: string;
let polls = 0;
beforeAll(async () => {
  store = await startStore({
    variables: { LIVE_SECONDS: '5' },
    neonFault: ({ statements }) => {
      if (statements.some(({ query }) => query.includes('campaign_json') && query.includes('"version"'))) polls++;
      return undefined;
    },
  });
  fixture = campaignFixture(store);
  key = await store.database.key({ kind: 'publishable' });
});
afterAll(() => store.close());

const watch = (campaignId: string, lastEventId?: string) =>
  watchLive(store, key, `/v1/campaigns/${campaignId}/live`, lastEventId);

const campaignEvents = ({ received }: { received: LiveEvent[] }) =>
  received.filter(({ event }) => event === 'campaign');

test('a watcher receives the count, the status and the time left, and every change', async () => {
  const campaign = await fixture.start('LIVE', 10);
  const { watched, reading } = await watch(campaign.id);
  expect([watched.status, watched.type]).toEqual([200, 'text/event-stream']);
  await until(() => watched.received.length === 1);
  expect(watched.text).toMatch(/^retry: \d+\n\n/);
  expect(watched.received[0]).toMatchObject({
    event: 'campaign',
    data: { id: campaign.id, status: 'active', actualParticipants: 0, minParticipants: 2, maxParticipants: 10 },
  });
  const left = watched.received[0]?.data.secondsLeft as number;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThanOrEqual(86_400);
  await fixture.join(campaign.id, 'a');
  await fixture.join(campaign.id, 'b');
  await until(() => watched.received.at(-1)?.data.status === 'successful');
  expect(watched.received.at(-1)?.data.actualParticipants).toBe(2);
  await reading;
  expect(watched.received.at(-1)).toEqual({ id: '', event: 'end', data: { reason: 'time_limit', reconnect: true } });
  expect(watched.ended).toBe(true);
});

test('a watcher that reconnects with Last-Event-ID receives only new events', async () => {
  const campaign = await fixture.start('AGAIN', 10, { minParticipants: 5 });
  const first = await watch(campaign.id);
  await first.reading;
  expect(campaignEvents(first.watched)).toHaveLength(1);
  const second = await watch(campaign.id, first.watched.received[0]?.id);
  await fixture.join(campaign.id, 'a');
  await second.reading;
  expect(campaignEvents(second.watched).map((received) => received.data.actualParticipants)).toEqual([1]);
});

test('the connection ends with the campaign, and a watcher that has received the end gets 204 on reconnecting', async () => {
  const campaign = await fixture.start('OVER', 10);
  const { watched, reading } = await watch(campaign.id);
  await store.send('POST', `/v1/campaigns/${campaign.id}/cancel`);
  await reading;
  expect(campaignEvents(watched).at(-1)?.data).toMatchObject({ status: 'failed', secondsLeft: 0 });
  expect(watched.received.at(-1)).toMatchObject({ event: 'end', data: { reason: 'campaign_over', reconnect: false } });
  await until(async () => (await fixture.read(campaign.id)).status === 'failed');
  await store.settled();
  const again = await watch(campaign.id);
  await again.reading;
  expect(campaignEvents(again.watched)).toHaveLength(1);
  const last = await watch(campaign.id, again.watched.received[0]?.id);
  expect(last.watched.status).toBe(204);
  await last.reading;
});

test('a watcher is notified when the end time passes, and then of the final status', async () => {
  const endTime = new Date(Date.now() + 3_000).toISOString();
  const campaign = await fixture.start('ENDING', 10, { endTime });
  const { watched, reading } = await watch(campaign.id);
  await until(() => campaignEvents(watched).some(({ data }) => data.secondsLeft === 0));
  expect(campaignEvents(watched).at(-1)?.data).toMatchObject({ status: 'active', endTime });
  await store.cron();
  await reading;
  const again = await watch(campaign.id, campaignEvents(watched).at(-1)?.id);
  await again.reading;
  const received = [...campaignEvents(watched), ...campaignEvents(again.watched)].map(({ data }) => data.status);
  expect(received).toEqual(['active', 'active', 'expired']);
});

test('many watchers cause as many database calls as one', async () => {
  const campaign = await fixture.start('CROWD', 10);
  const watchers = await Promise.all(Array.from({ length: 20 }, () => watch(campaign.id)));
  polls = 0;
  await Promise.all(watchers.map(({ reading }) => reading));
  // The streams last 5 s and poll every 2 s. If each of the 20 polled separately, there would be 40 polls or more.
  expect(polls).toBeGreaterThan(0);
  expect(polls).toBeLessThanOrEqual(4);
});

test('a campaign cannot be watched by another tenant or without a key', async () => {
  const campaign = await fixture.start('HIDDEN', 10);
  const other = { key: await store.database.key({ tenant: 'acme', kind: 'publishable' }) };
  expect((await store.send('GET', `/v1/campaigns/${campaign.id}/live`, undefined, other)).status).toBe(404);
  expect((await store.send('GET', `/v1/campaigns/${campaign.id}/live`, undefined, { key: null })).status).toBe(401);
});

test('the connections of a revoked key end within seconds, and those of other keys stay open', async () => {
  const longLived = await startStore({ variables: { LIVE_SECONDS: '600' } });
  try {
    const campaign = await campaignFixture(longLived).start('REVOKED', 10);
    const [revokedKey, validKey] = [
      await longLived.database.key(),
      await longLived.database.key({ kind: 'publishable' }),
    ];
    const open = async (apiKey: string) => {
      const headers = { authorization: `Bearer ${apiKey}` };
      const response = await fetch(`${longLived.url}/v1/campaigns/${campaign.id}/live`, { headers });
      return response.body?.pipeThrough(new TextDecoderStream()).getReader();
    };
    const reader = await open(validKey);
    const connections = await Promise.all([open(revokedKey), open(revokedKey), open(revokedKey)]);
    await longLived.database.query(`update platform.api_keys set revoked_at = now() where prefix = $1`, [
      revokedKey.slice(0, 12),
    ]);
    for (const connection of connections) {
      let text = '';
      for (let chunk = await connection?.read(); chunk && !chunk.done; chunk = await connection?.read())
        text += chunk.value;
      expect(text).toContain('event: end\ndata: {"reason":"unauthenticated","reconnect":false}');
    }
    // The connection of the other key still receives the changes of the campaign.
    await campaignFixture(longLived).join(campaign.id, 'a');
    let received = '';
    while (!received.includes('"actualParticipants":1')) received += (await reader?.read())?.value ?? '';
    expect(received).not.toContain('event: end');
    await reader?.cancel();
  } finally {
    await longLived.close();
  }
});

test('a live token opens only the stream of its campaign, and becomes invalid with its key', async () => {
  const [campaign, other] = [await fixture.start('TOKEN', 10), await fixture.start('OTHER', 10)];
  const publishable = await store.database.key({ kind: 'publishable', origins: ['https://shop.example'] });
  const created = await store.send('POST', `/v1/campaigns/${campaign.id}/live-token`, undefined, { key: publishable });
  expect([created.status, Date.parse(created.body.expiresAt) > Date.now()]).toEqual([201, true]);
  const { token } = created.body as { token: string };
  const open = async (path: string, origin?: string) => {
    const controller = new AbortController();
    const headers = origin === undefined ? {} : { origin };
    const response = await fetch(store.url + path, { headers, signal: controller.signal });
    const { status } = response;
    if (status === 200) controller.abort();
    else await response.body?.cancel();
    return [status, response.headers.get('access-control-allow-origin')];
  };
  const livePath = (id: string) => `/v1/campaigns/${id}/live`;
  expect(await open(`${livePath(campaign.id)}?token=${token}`, 'https://shop.example')).toEqual([
    200,
    'https://shop.example',
  ]);
  expect(await open(`${livePath(campaign.id)}?token=${token}`, 'https://evil.example')).toEqual([403, null]);
  expect(await open(`${livePath(other.id)}?token=${token}`)).toEqual([401, null]);
  expect((await open(`/v1/campaigns/${campaign.id}?token=${token}`))[0]).toBeGreaterThanOrEqual(400);
  expect(await open(`/v1/campaigns?token=${token}`).then(([status]) => Number(status))).toBeGreaterThanOrEqual(400);
  const [, keyId = '', expiry = '', mac = ''] = token.split('_');
  const forged = [`lt_${keyId}_${Number(expiry) + 60}_${mac}`, `lt_${keyId}_${expiry}_${'0'.repeat(64)}`, 'x', ''];
  for (const each of forged)
    expect([each, await open(`${livePath(campaign.id)}?token=${each}`)]).toEqual([each, [401, null]]);
  await store.database.query(`update platform.api_keys set revoked_at = now() where id = $1`, [keyId]);
  expect(await open(`${livePath(campaign.id)}?token=${token}`)).toEqual([401, null]);
  expect(JSON.stringify(store.logs())).not.toContain(mac);
});

test('the same Idempotency-Key returns the same live token, which is not stored', async () => {
  const campaign = await fixture.start('REPEATED', 10);
  const createToken = () =>
    store.send('POST', `/v1/campaigns/${campaign.id}/live-token`, undefined, { idempotencyKey: 'page-1' });
  const [first, second] = [await createToken(), await createToken()];
  expect(second.body).toEqual(first.body);
  expect([first, second].map((reply) => reply.headers.get('idempotent-replayed'))).toEqual([null, 'true']);
  const stored = await store.database.query(`select answer from platform.idempotency where key = 'page-1'`);
  expect(stored).toEqual([{ answer: { expiresAt: first.body.expiresAt } }]);
});

test('a live token works only for its tenant and campaign, and expires', async () => {
  const campaign = await fixture.start('EXPIRED', 10);
  const foreign = { key: await store.database.key({ tenant: 'acme', kind: 'publishable' }) };
  const path = `/v1/campaigns/${campaign.id}/live-token`;
  expect((await store.send('POST', path, undefined, foreign)).status).toBe(404);
  expect((await store.send('POST', path, undefined, { key: await store.database.key({ scopes: [] }) })).status).toBe(
    403,
  );
  const soon = new Date(Date.now() + 2_000);
  const expiringKey = await store.database.key({ kind: 'publishable', expiresAt: soon });
  const { body } = await store.send('POST', path, undefined, { key: expiringKey });
  expect(Date.parse(body.expiresAt)).toBeLessThanOrEqual(soon.getTime());
  await until(async () => {
    const response = await fetch(`${store.url}/v1/campaigns/${campaign.id}/live?token=${body.token}`);
    await response.body?.cancel();
    return response.status === 401;
  });
});
