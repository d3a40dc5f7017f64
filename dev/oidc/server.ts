import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';

export type OidcOptions = {
  /** 0 uses any free port. */
  port: number;
  /** The audience of its tokens, if a request names no other one. */
  audience: string;
};

export type OidcIssuer = {
  /** The issuer, as tokens and the discovery document name it. */
  url: string;
  port: number;
  /** How often each path was requested. */
  requests: Record<string, number>;
  /** Signs an ID token. A claim that is undefined is left out. */
  issue: (claims: { [Claim in keyof JWTPayload]: JWTPayload[Claim] | undefined }) => Promise<string>;
  /** Replaces the key: tokens that were signed before are no longer valid. */
  rotate: () => Promise<void>;
  close: () => Promise<void>;
};

const algorithm = 'ES256';
const validSeconds = 3_600;
const maxBodyBytes = 65_536;

const page = (
  issuer: string,
): string => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Local log-in</title>
<h1>Local log-in</h1>
<p>This OpenID provider is part of <code>npm start</code>. It is no real log-in: it gives an ID token to anybody, for any
e-mail address.</p>
<form method="post" action="${issuer}/token"><label>E-mail <input name="email" type="email" value="ada@example.com"
required></label> <button>Get an ID token</button></form></html>`;

/** A key pair with its id. Keys are made at each start and are never stored. */
async function makeKey() {
  const { privateKey, publicKey } = await generateKeyPair(algorithm);
  const kid = crypto.randomUUID();
  return { privateKey, kid, jwk: { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: 'sig' } };
}

/** The fields of a form or of JSON. */
async function readFields(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > maxBodyBytes) throw new Error('the body is too large');
  }
  return request.headers['content-type']?.includes('json')
    ? JSON.parse(text)
    : Object.fromEntries(new URLSearchParams(text));
}

/**
 * A local emulator of an OpenID Connect provider, for `npm start` and tests. It has discovery, keys, and a token
 * endpoint that gives an ID token for any e-mail address, without a password. The same address has the same `sub`.
 */
export async function startOidc({ port: wanted, audience }: OidcOptions): Promise<OidcIssuer> {
  let key = await makeKey();
  let url = '';
  const requests: Record<string, number> = {};

  const issue: OidcIssuer['issue'] = (claims) => {
    const now = Math.floor(Date.now() / 1000);
    const all = { iss: url, aud: audience, iat: now, exp: now + validSeconds, ...claims };
    const payload = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    return new SignJWT(payload).setProtectedHeader({ alg: algorithm, kid: key.kid, typ: 'JWT' }).sign(key.privateKey);
  };

  async function respond(request: IncomingMessage): Promise<{ status: number; body: unknown; type?: string }> {
    const { pathname } = new URL(request.url ?? '/', url);
    requests[pathname] = (requests[pathname] ?? 0) + 1;
    if (request.method === 'GET' && pathname === '/') return { status: 200, body: page(url), type: 'text/html' };
    if (request.method === 'GET' && pathname === '/.well-known/openid-configuration') {
      const body = {
        ...{ issuer: url, jwks_uri: `${url}/jwks`, token_endpoint: `${url}/token` },
        ...{ response_types_supported: ['id_token'], subject_types_supported: ['public'] },
        id_token_signing_alg_values_supported: [algorithm],
      };
      return { status: 200, body };
    }
    if (request.method === 'GET' && pathname === '/jwks') return { status: 200, body: { keys: [key.jwk] } };
    if (request.method === 'POST' && pathname === '/token') {
      const { email, ...more } = await readFields(request);
      if (typeof email !== 'string' || !email.includes('@'))
        return { status: 400, body: { error: 'invalid_request', error_description: 'Send an email.' } };
      const claims = { sub: `local|${email.toLowerCase()}`, email, email_verified: true, ...more };
      const body = { id_token: await issue(claims), token_type: 'Bearer', expires_in: validSeconds };
      return { status: 200, body };
    }
    return { status: 404, body: { error: 'not_found' } };
  }

  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const send = ({ status, body, type = 'application/json' }: { status: number; body: unknown; type?: string }) => {
      const headers = { 'content-type': `${type}; charset=utf-8`, 'access-control-allow-origin': '*' };
      response.writeHead(status, { ...headers, 'access-control-allow-headers': 'content-type' });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    };
    if (request.method === 'OPTIONS') return send({ status: 204, body: '' });
    respond(request).then(send, (error: Error) => send({ status: 400, body: { error: error.message } }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(wanted, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    requests,
    issue,
    async rotate() {
      key = await makeKey();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
