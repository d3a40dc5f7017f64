const encoder = new TextEncoder();

const keyOf = (secret: string) =>
  crypto.subtle.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']);

const bytesOf = (hex: string): Uint8Array<ArrayBuffer> | undefined => {
  if (!/^[0-9a-f]{64}$/i.test(hex)) return undefined;
  const bytes = new Uint8Array(32);
  for (let index = 0; index < 32; index += 1) bytes[index] = Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16);
  return bytes;
};

/** How far a signature's time may be from ours, in seconds, in either direction. */
export const toleranceSeconds = 300;

/** Reads a body on demand. Reading and hashing it costs more than checking a header first. */
export type LazyBody = () => Promise<Uint8Array>;

/**
 * Whether any of the secrets signed these bytes (HMAC-SHA256, hex). Web Crypto compares in constant time. Empty secrets
 * never match. Several secrets are accepted so that one can be replaced without downtime.
 */
export async function isSignedBy(secrets: string[], message: LazyBody, hex: string): Promise<boolean> {
  const signature = bytesOf(hex);
  if (!signature) return false;
  const signed = new Uint8Array(await message());
  let matched = false;
  for (const secret of secrets) {
    if (secret === '') continue;
    const genuine = await crypto.subtle.verify('HMAC', await keyOf(secret), signature, signed);
    matched = matched || genuine;
  }
  return matched;
}

/** Parses a header `t=<unix seconds>,v1=<hex>[,v1=<hex>…]`. Undefined if its time is outside the tolerance. */
function parseHeader(header: string, now: Date): { time: string; signatures: string[] } | undefined {
  const fields = header.split(',').map((field) => field.trim());
  const times = fields.filter((field) => field.startsWith('t=')).map((field) => field.slice(2));
  const [time] = times;
  if (times.length !== 1 || time === undefined || !/^\d{1,12}$/.test(time)) return undefined;
  if (Math.abs(now.getTime() / 1000 - Number(time)) > toleranceSeconds) return undefined;
  const signatures = fields.filter((field) => field.startsWith('v1=')).map((field) => field.slice(3));
  return { time, signatures: signatures.slice(0, 4) };
}

/**
 * Whether `header` (`t=<unix seconds>,v1=<hex>[,v1=<hex>…]`) signs `<t>.` followed by the body's bytes with one of the
 * secrets, and its time is within the tolerance of `now`. The body is read only if the header can be valid.
 */
export async function isFreshAndSignedBy(
  secrets: string[],
  header: string,
  body: LazyBody,
  now: Date,
): Promise<boolean> {
  const parsed = parseHeader(header, now);
  if (!parsed) return false;
  let message: Uint8Array | undefined;
  const timeAndBody = async (): Promise<Uint8Array> => {
    if (message) return message;
    const [start, rest] = [encoder.encode(`${parsed.time}.`), await body()];
    message = new Uint8Array(start.byteLength + rest.byteLength);
    message.set(start);
    message.set(rest, start.byteLength);
    return message;
  };
  for (const signature of parsed.signatures) if (await isSignedBy(secrets, timeAndBody, signature)) return true;
  return false;
}

/** Whether a token is one of the secrets. Compares digests, so the time taken reveals nothing about the secret. */
export async function matchesSecret(secrets: string[], token: string): Promise<boolean> {
  const expected = new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(token)));
  let matched = false;
  for (const secret of secrets) {
    if (secret === '') continue;
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(secret)));
    let difference = 0;
    digest.forEach((byte, index) => {
      difference |= byte ^ (expected[index] ?? 0);
    });
    matched = matched || difference === 0;
  }
  return matched;
}
