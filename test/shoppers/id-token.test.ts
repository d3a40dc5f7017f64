import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { type OidcIssuer, startOidc } from '../../dev/oidc/server.ts';
import { RejectedToken, readIdToken } from '../../src/oidc/id-token.ts';
import { ProviderUnavailable } from '../../src/oidc/provider.ts';

const audience = 'shop';
const rules = { allowLoopback: true };
const started: OidcIssuer[] = [];
const start = async () => {
  const oidc = await startOidc({ port: 0, audience });
  started.push(oidc);
  return oidc;
};
afterEach(async () => {
  vi.useRealTimers();
  for (const oidc of started.splice(0)) await oidc.close();
});

const read = (token: string, issuer: string, now = new Date()) => readIdToken(token, { issuer, audience }, rules, now);

test('a new key of the provider is read when a token names it, at most once in 30 s', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const oidc = await start();
  const issue = () => oidc.issue({ sub: 'ada' });
  const loads = () => oidc.requests['/jwks'];
  for (let n = 0; n < 3; n++) expect((await read(await issue(), oidc.url)).subject).toBe('ada');
  expect([loads(), oidc.requests['/.well-known/openid-configuration']]).toEqual([1, 1]);
  const old = await issue();
  await oidc.rotate();
  for (let n = 0; n < 5; n++) await expect(read(await issue(), oidc.url)).rejects.toThrow(RejectedToken);
  expect((await read(old, oidc.url)).subject).toBe('ada');
  expect(loads()).toBe(1);
  vi.setSystemTime(Date.now() + 31_000);
  expect((await read(await issue(), oidc.url)).subject).toBe('ada');
  expect(loads()).toBe(2);
  await expect(read(old, oidc.url)).rejects.toThrow(RejectedToken);
  expect(loads()).toBe(2);
});

test('the time that is passed in decides, with 30 s of tolerance for a token that begins', async () => {
  const oidc = await start();
  const at = (seconds: number) => new Date(Date.parse('2030-01-31T12:00:00Z') + seconds * 1_000);
  const unix = (seconds: number) => at(seconds).getTime() / 1_000;
  const token = await oidc.issue({ sub: 'ada', nbf: unix(0), exp: unix(600) });
  await expect(read(token, oidc.url, at(-31))).rejects.toThrow('not valid yet');
  expect((await read(token, oidc.url, at(-29))).expiresAt).toEqual(at(600));
  expect((await read(token, oidc.url, at(599))).subject).toBe('ada');
  await expect(read(token, oidc.url, at(600))).rejects.toThrow('expired');
});

test('an e-mail counts only if it is valid and the provider has verified it', async () => {
  const oidc = await start();
  const emailOf = async (claims: object) => (await read(await oidc.issue({ sub: 'ada', ...claims }), oidc.url)).email;
  expect(await emailOf({ email: 'Ada@example.com', email_verified: true })).toBe('Ada@example.com');
  expect(await emailOf({ email: 'ada@example.com', email_verified: 'true' })).toBe('ada@example.com');
  for (const claims of [
    { email: 'ada@example.com' },
    { email: 'ada@example.com', email_verified: false },
    { email: 'ada@example.com', email_verified: 1 },
    { email: 'nobody', email_verified: true },
    { email: `${'a'.repeat(250)}@example.com`, email_verified: true },
    { email: ['ada@example.com'], email_verified: true },
    { email_verified: true },
  ])
    expect([claims, await emailOf(claims)]).toEqual([claims, undefined]);
});

test('a token for several audiences is accepted only if it was issued to this application', async () => {
  const oidc = await start();
  const issue = (azp?: string) => oidc.issue({ sub: 'ada', aud: ['api', audience], ...(azp && { azp }) });
  expect((await read(await issue(audience), oidc.url)).subject).toBe('ada');
  await expect(read(await issue('api'), oidc.url)).rejects.toThrow('another application');
  await expect(read(await issue(), oidc.url)).rejects.toThrow(RejectedToken);
});

test.each([
  ['has an endless document', (base: string) => ({ issuer: base, jwks_uri: `${base}/jwks`, more: 'x'.repeat(70_000) })],
  ['names another issuer', (base: string) => ({ issuer: 'https://other.example', jwks_uri: `${base}/jwks` })],
  ['has keys on a private address', (base: string) => ({ issuer: base, jwks_uri: 'https://192.168.0.1/jwks' })],
  ['has keys over http', (base: string) => ({ issuer: base, jwks_uri: 'http://keys.example/jwks' })],
  ['has no keys', (base: string) => ({ issuer: base, jwks_uri: `${base}/nothing` })],
  ['redirects to its keys', (base: string) => ({ issuer: base, jwks_uri: `${base}/redirect` })],
  ['has keys that are none', (base: string) => ({ issuer: base, jwks_uri: `${base}/jwks` })],
  ['has no document', () => 'not JSON'],
])('a provider that %s is unavailable', async (_name, documentOf) => {
  const server = createServer((request, response) => {
    const { port } = server.address() as AddressInfo;
    const base = `http://127.0.0.1:${port}`;
    if (request.url === '/redirect') return response.writeHead(302, { location: `${base}/jwks` }).end();
    if (request.url === '/nothing') return response.writeHead(404).end();
    const body = request.url === '/jwks' ? { keys: 'none' } : documentOf(base);
    return response.writeHead(200).end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const oidc = await start();
  await expect(read(await oidc.issue({ sub: 'ada' }), `http://127.0.0.1:${port}`)).rejects.toThrow(ProviderUnavailable);
  await new Promise((resolve) => server.close(resolve));
});

test.each(['/.well-known/openid-configuration', '/jwks'])(
  'a provider whose %s fails is asked at most once in 3 s, however many tokens come',
  async (failing) => {
    vi.useFakeTimers({ toFake: ['Date'] });
    let requests = 0;
    const server = createServer((request, response) => {
      const { port } = server.address() as AddressInfo;
      const base = `http://127.0.0.1:${port}`;
      if (request.url !== failing)
        return response.writeHead(200).end(JSON.stringify({ issuer: base, jwks_uri: `${base}/jwks` }));
      requests++;
      return response.writeHead(500).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const token = await (await start()).issue({ sub: 'ada' });
    const fail = () => expect(read(token, `http://127.0.0.1:${port}`)).rejects.toThrow('status 500');
    for (let n = 0; n < 5; n++) await fail();
    expect(requests).toBe(1);
    vi.setSystemTime(Date.now() + 3_100);
    await fail();
    expect(requests).toBe(2);
    await new Promise((resolve) => server.close(resolve));
  },
);
