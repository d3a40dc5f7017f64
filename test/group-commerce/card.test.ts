import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser } from '../support/browser.ts';
import { addProduct, type Store, startStore } from '../support/harness.ts';
import { webp } from '../support/images.ts';

let store: Store;
/** Calls of show_card to the database. */
let calls = 0;
beforeAll(async () => {
  store = await startStore({
    neonFault: ({ statements }) => {
      if (statements.some(({ query }) => query.includes('show_card'))) calls++;
      return undefined;
    },
  });
});
afterAll(() => store.close());

type Options = { name?: string; image?: { alt: string }; campaign?: object; currency?: string; amounts?: number[] };
let teams = 0;
/** Opens a team in a new campaign for a new product. */
async function openTeam({
  name = 'Tea',
  image,
  campaign = {},
  currency = 'USD',
  amounts = [29.99, 19.99],
}: Options = {}) {
  const sku = `CARD-${teams++}`;
  const product = await addProduct(store, sku, 20, amounts[0], { name, currency, description: 'Fresh <tea>' });
  if (image) {
    const path = `/v1/products/${product.id}/images?alt=${encodeURIComponent(image.alt)}`;
    const headers = { 'content-type': 'image/webp' };
    expect((await store.send('POST', path, webp().toString('latin1'), { headers })).status).toBe(201);
  }
  const started = await store.send('POST', '/v1/campaigns', {
    ...{ productId: product.id, mode: 'teams', teamSize: 3, teamSeconds: 7_200, price: amounts[1] },
    startTime: new Date(Date.now() - 60_000).toISOString(),
    endTime: new Date(Date.now() + 86_400_000).toISOString(),
    ...campaign,
  });
  expect(started.status).toBe(201);
  const opened = await store.send('POST', `/v1/campaigns/${started.body.id}/teams`, { userId: 'leader-1' });
  expect(opened.status).toBe(201);
  const team = opened.body.team as { id: string; code: string; endTime: string };
  return { team, product, campaign: started.body as { id: string } };
}

const pathOf = (code: string, more = '') => `/v1/teams/by-code/${code}/card${more}`;
const read = (code: string, headers: Record<string, string> = {}, more = '') =>
  store.send('GET', pathOf(code, more), undefined, { key: null, headers });
const browserAccept = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';

describe('the card of a team', () => {
  test('is shown without a key, with the product, the price and the free places, and nobody’s id', async () => {
    const { team, product, campaign } = await openTeam({ image: { alt: 'A cup' } });
    const reply = await read(team.code);
    expect(reply.status).toBe(200);
    const { secondsLeft, image, ...rest } = reply.body;
    expect(rest).toEqual({
      ...{ title: 'Tea', description: 'Fresh <tea>', status: 'forming', size: 3, joined: 1, missing: 2, open: true },
      ...{ price: 19.99, originalPrice: 29.99, currency: 'USD', endTime: team.endTime },
      ...{ teamId: team.id, campaignId: campaign.id, productId: product.id },
    });
    expect(secondsLeft).toBeGreaterThan(7_100);
    expect(secondsLeft).toBeLessThanOrEqual(7_200);
    expect(image).toMatchObject({ alt: 'A cup', width: expect.any(Number) });
    expect(image.url).toMatch(new RegExp(`^${store.url}/media/[0-9a-f-]+\\.webp$`));
    expect((await fetch(image.url)).status).toBe(200);
    expect(JSON.stringify(reply.body)).not.toContain('leader-1');
    expect(reply.headers.get('cache-control')).toMatch(/^public, max-age=1[0-5]$/);
    expect(reply.headers.get('vary')).toBe('Accept');
    expect(reply.headers.get('access-control-allow-origin')).toBe('*');
    expect(reply.headers.get('x-robots-tag')).toBe('noindex');
    expect(reply.headers.get('etag')).toMatch(/^"[0-9a-f]{24}"$/);
  });

  test('comes from the edge cache without a database call, for JSON and HTML, with the time left of each response', async () => {
    const { team } = await openTeam();
    const first = await read(team.code);
    const before = calls;
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const again = await read(team.code);
    const page = await read(team.code, { accept: browserAccept });
    expect(calls).toBe(before);
    expect([first, again, page].map(({ headers }) => headers.get('cache-status'))).toEqual([
      'fusioncommerce; fwd=miss',
      'fusioncommerce; hit',
      'fusioncommerce; hit',
    ]);
    expect(again.body.secondsLeft).toBeLessThan(first.body.secondsLeft);
    expect({ ...again.body, secondsLeft: 0 }).toEqual({ ...first.body, secondsLeft: 0 });
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    const ageOf = ({ headers }: typeof first) => Number(headers.get('cache-control')?.split('=')[1]);
    expect(ageOf(again)).toBeLessThan(ageOf(first)); // both caches together keep it for 15 s
  });

  test('of a code that no team has is 404, which is remembered without a database call', async () => {
    const before = calls;
    for (let n = 0; n < 20; n++) {
      const reply = await read('zzzzzzzzzzzzzzzz', n % 2 === 0 ? { accept: browserAccept } : {});
      expect([reply.status, reply.headers.get('content-type'), reply.body.code]).toEqual([
        404,
        'application/problem+json',
        'not_found',
      ]);
      expect(reply.headers.get('cache-control')).toBe('no-store');
    }
    expect(calls).toBe(before + 1);
    for (const wrong of ['x', 'ABCDEFGHJKMNPQRS', 'iiiiiiiiiiiiiiii', `${'a'.repeat(40)}`, '%00', "'--"]) {
      expect([wrong, (await read(wrong)).status]).toEqual([wrong, 404]);
    }
    expect(calls).toBe(before + 1);
  });

  test('of a merged team is that of the team that it moved into', async () => {
    const [{ team }, { team: middle }, { team: target }] = [await openTeam(), await openTeam(), await openTeam()];
    for (const [from, to] of [[team, middle] as const, [middle, target] as const]) {
      await store.database.query(`update group_commerce.teams set status = 'merged', merged_into = $2 where id = $1`, [
        from.id,
        to.id,
      ]);
    }
    expect((await read(team.code)).body).toMatchObject({ teamId: target.id, status: 'forming', open: true });
  });

  test('shows no free place once the team is full, its time is over, or its campaign is', async () => {
    const full = await openTeam();
    for (const userId of ['b', 'c']) await store.send('POST', `/v1/teams/${full.team.id}/join`, { userId });
    expect((await read(full.team.code)).body).toMatchObject({
      ...{ status: 'successful', joined: 3, missing: 0, open: false, secondsLeft: 0 },
    });
    const late = await openTeam({ campaign: { teamSeconds: 1 } });
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    expect((await read(late.team.code)).body).toMatchObject({ missing: 0, open: false, secondsLeft: 0 });
    const over = await openTeam();
    await store.database.query(`update group_commerce.group_commerce_campaigns set status = 'failed' where id = $1`, [
      over.campaign.id,
    ]);
    expect((await read(over.team.code)).body).toMatchObject({ missing: 0, open: false });
    const archived = await openTeam();
    await store.send('DELETE', `/v1/products/${archived.product.id}`);
    expect((await read(archived.team.code)).body).toMatchObject({ missing: 0, open: false });
  });

  test('is JSON unless `Accept` prefers HTML or `format` decides, and ignores what links are shared with', async () => {
    const { team } = await openTeam();
    const typeOf = async (accept: string | undefined, more = '') =>
      (await read(team.code, accept === undefined ? {} : { accept }, more)).headers.get('content-type')?.split(';')[0];
    for (const accept of [undefined, '*/*', 'application/json', 'application/json, text/html', 'image/png']) {
      expect([accept, await typeOf(accept)]).toEqual([accept, 'application/json']);
    }
    for (const accept of [browserAccept, 'text/html', 'application/json;q=0.5, text/*']) {
      expect([accept, await typeOf(accept)]).toEqual([accept, 'text/html']);
    }
    expect(await typeOf('*/*', '?format=html&fbclid=1&utm_source=a')).toBe('text/html');
    expect(await typeOf(browserAccept, '?format=json')).toBe('application/json');
    expect((await read(team.code, {}, '?format=xml')).status).toBe(422);
  });

  test('does not log the code', async () => {
    const { team } = await openTeam();
    await read(team.code);
    await store.send('POST', `/v1/teams/by-code/${team.code}/join`, { userId: 'b' });
    const requests = store
      .logs()
      .filter(({ operation }) => ['getTeamCard', 'joinTeamByCode'].includes(String(operation)));
    expect(requests.map(({ path }) => path)).toContain('/v1/teams/by-code/…/card');
    expect(requests.at(-1)).toMatchObject({ path: '/v1/teams/by-code/…/join', tenant: 'default' });
    expect(JSON.stringify(store.logs())).not.toContain(team.code);
  });
});

test('an address that tries many codes is limited, and who has a code is not', async () => {
  const limited = await startStore({ addressLimit: 100 });
  try {
    const reply = async (code: string, address: string) =>
      (await limited.send('GET', pathOf(code), undefined, { key: null, headers: { 'cf-connecting-ip': address } }))
        .status;
    // However slowly they are answered: those under way count too.
    const codes = Array.from({ length: 150 }, (_, n) => String(n).padStart(16, '0'));
    const statuses = await Promise.all(codes.map((code) => reply(code, '192.0.2.1')));
    expect(new Set(statuses)).toEqual(new Set([404, 429]));
    expect(await reply('0000000000000999', '192.0.2.2')).toBe(404);
  } finally {
    await limited.close();
  }
});

type PageContent = {
  names: string[];
  hit: boolean;
  title: string;
  heading: string;
  text: string;
  image: unknown;
  fontSize: string;
  metas: Record<string, string>;
};
/** Runs in the page. */
const readPage = `({
  names: [...new Set([...document.querySelectorAll('*')].map(({ localName }) => localName))].sort(),
  hit: 'hit' in window,
  title: document.title,
  heading: document.querySelector('h1').textContent,
  text: document.body.textContent,
  image: document.images[0] && [document.images[0].alt, document.images[0].src, document.images.length],
  fontSize: getComputedStyle(document.querySelector('h1')).fontSize,
  metas: Object.fromEntries([...document.querySelectorAll('meta')].map((meta) =>
    [meta.getAttribute('property') ?? meta.getAttribute('name') ?? '', meta.content])),
})`;

describe('the page of a card', () => {
  const attack = `"><script>window.hit=1</script><img src=x onerror="window.hit=1">'&amp;</title>`;

  test('shows the same to link previews and people, runs nothing, and loads its image only', async () => {
    const { team } = await openTeam({ name: attack, image: { alt: attack } });
    const opened = await openBrowser();
    try {
      const page = await opened.browser.newPage();
      const refused: string[] = [];
      page.on('console', (message) => refused.push(message.text()));
      const response = await page.goto(store.url + pathOf(team.code));
      expect(response?.headers()['content-type']).toBe('text/html; charset=UTF-8');
      const found = (await page.evaluate(readPage)) as PageContent;
      expect(found.hit).toBe(false);
      expect(refused).toEqual([]);
      expect(found.names).toEqual([
        'body',
        'h1',
        'head',
        'html',
        'img',
        'main',
        'meta',
        'p',
        'strong',
        'style',
        'time',
        'title',
      ]);
      expect([found.title, found.heading]).toEqual([attack, attack]);
      const { body: card } = await read(team.code);
      expect(found.image).toEqual([attack, card.image.url, 1]);
      expect(found.fontSize).toBe('24px'); // the policy allows the style
      const day = new Date(team.endTime).toLocaleDateString('en-GB', {
        day: 'numeric',
        month: 'long',
        timeZone: 'UTC',
      });
      const until = `${day} ${team.endTime.slice(11, 16)} UTC`;
      const summary = `2 more people until ${until}: 19.99 USD instead of 29.99 USD`;
      expect(found.metas).toMatchObject({
        ...{ 'og:title': attack, 'og:description': summary, 'og:image': card.image.url, robots: 'noindex' },
        'og:url': `${store.url}${pathOf(team.code)}?format=html`,
        ...{ 'twitter:card': 'summary_large_image', 'twitter:title': attack, 'twitter:description': summary },
        'twitter:image': card.image.url,
      });
      expect(found.text).toContain(`2 more people until ${until} (119 minutes left).`);
      expect(found.text).toContain('19.99 USD instead of 29.99 USD');
      expect(found.text).toContain('Places taken: 1 of 3.');
      expect(found.text).not.toContain('leader-1');
    } finally {
      await opened.close();
    }
  });

  test('has a policy that allows its style and the images of its server, and nothing else', async () => {
    const { team } = await openTeam({ image: { alt: 'A cup' } });
    const reply = await read(team.code, { accept: 'text/html' });
    expect(reply.headers.get('content-security-policy')).toMatch(
      new RegExp(
        `^default-src 'none'; img-src ${store.url}; style-src 'sha256-[A-Za-z0-9+/]{43}='; frame-ancestors 'none'; ` +
          `base-uri 'none'; form-action 'none'$`,
      ),
    );
    expect(reply.headers.get('x-robots-tag')).toBe('noindex');
    expect(reply.headers.get('referrer-policy')).toBe('no-referrer');
  });

  test('writes amounts in the currency’s decimals, and one missing person', async () => {
    const { team } = await openTeam({ currency: 'JPY', amounts: [3000, 3000], campaign: { teamSize: 2 } });
    const { body: page, headers } = await read(team.code, { accept: 'text/html' });
    expect(page).toMatch(/content="1 more person until [^"]+ UTC: 3000 JPY"/);
    expect(page).not.toContain('og:image');
    expect(page).toContain('<meta name="twitter:card" content="summary">');
    expect(headers.get('content-security-policy')).not.toContain('img-src');
    await store.send('POST', `/v1/teams/${team.id}/join`, { userId: 'b' });
  });

  test('says that a full team is complete', async () => {
    const { team } = await openTeam({ campaign: { teamSize: 2 } });
    await store.send('POST', `/v1/teams/${team.id}/join`, { userId: 'b' });
    const { body: page } = await read(team.code, { accept: 'text/html' });
    expect(page).toContain('<p>This team is complete.</p>');
    expect(page).not.toContain('more people');
  });
});

test('images are served from PUBLIC_URL if it is set', async () => {
  const other = await startStore({ variables: { PUBLIC_URL: 'https://api.shop.example/' } });
  const before = store;
  try {
    store = other;
    const { team } = await openTeam({ image: { alt: 'A cup' } });
    expect((await read(team.code)).body.image.url).toMatch(/^https:\/\/api\.shop\.example\/media\//);
    const { body: page } = await read(team.code, { accept: 'text/html' });
    expect(page).toContain(`content="https://api.shop.example${pathOf(team.code)}?format=html"`);
  } finally {
    store = before;
    await other.close();
  }
});
