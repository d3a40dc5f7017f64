import type { HttpContext } from './app-env.ts';

/**
 * A strong ETag: the resource's version, if it has one, for `If-Match`, and 96 bits of the body's SHA-256. The hash is
 * needed because a product shows its stock, which changes without a new version of the product.
 */
async function etagOf(body: string, version: number | undefined): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(body)));
  const hash = [...digest.subarray(0, 12)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return version === undefined ? `"${hash}"` : `"${version}-${hash}"`;
}

/** A resource as JSON, with its ETag. */
export type Representation = { body: string; etag: string };

export async function represent(resource: unknown, version?: number): Promise<Representation> {
  const body = JSON.stringify(resource);
  return { body, etag: await etagOf(body, version) };
}

type Answer = { status?: 200 | 201 | 202; replayed?: boolean };

/**
 * The response that shows one resource, with its ETag; 304 to a read whose `If-None-Match` names it. Hono's ETag
 * middleware reads the finished body again and knows no versions, which `If-Match` needs.
 */
export async function showResource(
  c: HttpContext,
  resource: unknown,
  { version, ...answer }: Answer & { version?: number } = {},
): Promise<Response> {
  return showRepresentation(c, await represent(resource, version), answer);
}

/** The same for a resource that is already JSON. */
export function showRepresentation(
  c: HttpContext,
  { body, etag }: Representation,
  { status = 200, replayed }: Answer = {},
): Response {
  c.header('ETag', etag);
  if (replayed) c.header('Idempotent-Replayed', 'true');
  const isRead = c.req.method === 'GET' || c.req.method === 'HEAD';
  if (isRead && matchesEtag(c.req.header('if-none-match'), etag)) return c.body(null, 304);
  return c.body(body, status, { 'Content-Type': 'application/json' });
}

/** Whether `If-None-Match` names this ETag (weak comparison, RFC 9110 13.1.2). */
function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag);
}

/**
 * The versions that `If-Match` allows. Undefined if the header is absent or `*`: every version is allowed. A weak ETag
 * or one in another format never matches (RFC 9110 13.1.1), so a list of such ETags allows no version.
 */
export function versionsIn(ifMatch: string | undefined): number[] | undefined {
  const header = ifMatch?.trim();
  if (header === undefined || header === '*') return undefined;
  return header.split(',').flatMap((tag) => {
    const version = /^"(0|[1-9]\d{0,8})-[0-9a-f]{24}"$/.exec(tag.trim())?.[1];
    return version === undefined ? [] : [Number(version)];
  });
}
