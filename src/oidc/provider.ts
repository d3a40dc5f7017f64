import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose';
import * as z from 'zod';
import { checkPublicUrl, RefusedUrl, type UrlRules } from '../base/public-url.ts';

/** How long one request to a provider may take, with DNS and the body. */
const deadlineMs = 5_000;
/** A provider's document or key set is a few kilobytes. */
const maxBytes = 65_536;
/** How long a provider's document and keys are used before they are read again. */
const keptMs = 600_000;
/** How often a token with an unknown key may cause another read of the keys: once in this time. */
const pauseMs = 30_000;
/** How long a document that could not be read is not asked for again: anybody can send tokens of a shop's provider. */
const failureMs = 3_000;
const maxProviders = 100;

/** The provider did not respond, or not as OpenID Connect requires. The reason has no URL, because it is logged. */
export class ProviderUnavailable extends Error {
  override readonly name = 'ProviderUnavailable';
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new ProviderUnavailable(`Its response is larger than ${maxBytes} bytes.`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Reads a document of a provider. Redirects are not followed. @throws ProviderUnavailable */
async function fetchDocument(address: string, rules: UrlRules): Promise<string> {
  try {
    const url = await checkPublicUrl(address, rules);
    const signal = AbortSignal.timeout(deadlineMs);
    const headers = { Accept: 'application/json', 'User-Agent': 'FusionCommerce' };
    const response = await fetch(url, { redirect: 'manual', signal, headers });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new ProviderUnavailable(`It responded with status ${response.status}.`);
    }
    return await readText(response);
  } catch (error) {
    if (error instanceof ProviderUnavailable) throw error;
    throw new ProviderUnavailable(error instanceof RefusedUrl ? error.message : 'It did not respond.');
  }
}

/** The memory of this isolate, by URL. */
const failures = new Map<string, { error: ProviderUnavailable; until: number }>();

/** The same as `fetchDocument`. After a failure it fails at once for 3 s. @throws ProviderUnavailable */
async function readDocument(address: string, rules: UrlRules): Promise<string> {
  const failure = failures.get(address);
  if (failure && failure.until > Date.now()) throw failure.error;
  failures.delete(address);
  return await fetchDocument(address, rules).catch((error: ProviderUnavailable) => {
    if (failures.size >= maxProviders) failures.clear();
    failures.set(address, { error, until: Date.now() + failureMs });
    throw error;
  });
}

const discoveryDocument = z.object({ issuer: z.string(), jwks_uri: z.string() });

function readDiscovery(text: string): z.infer<typeof discoveryDocument> {
  try {
    return discoveryDocument.parse(JSON.parse(text));
  } catch {
    throw new ProviderUnavailable('Its /.well-known/openid-configuration has no issuer or no jwks_uri.');
  }
}

/** The memory of this isolate, by issuer. */
const known = new Map<string, { keys: JWTVerifyGetKey; until: number }>();

/**
 * The keys of an OpenID provider, found by its discovery document (OpenID Connect Discovery 1.0). They are kept for ten
 * minutes, and read again when a token names an unknown key, at most once in 30 s.
 * @throws ProviderUnavailable, here and when a key is looked up
 */
export async function keysOf(issuer: string, rules: UrlRules, now: Date): Promise<JWTVerifyGetKey> {
  const found = known.get(issuer);
  if (found && found.until > now.getTime()) return found.keys;
  const discovery = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const { issuer: stated, jwks_uri: keysUrl } = readDiscovery(await readDocument(discovery, rules));
  if (stated !== issuer) throw new ProviderUnavailable('Its /.well-known/openid-configuration names another issuer.');
  if (!URL.canParse(keysUrl)) throw new ProviderUnavailable('Its jwks_uri is not a URL.');
  const keys = createRemoteJWKSet(new URL(keysUrl), {
    cooldownDuration: pauseMs,
    cacheMaxAge: keptMs,
    [customFetch]: async (url) => new Response(await readDocument(url, rules)),
  });
  if (known.size >= maxProviders) known.clear();
  known.set(issuer, { keys, until: now.getTime() + keptMs });
  return keys;
}
