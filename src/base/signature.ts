const encoder = new TextEncoder();

const keyOf = (secret: string) =>
  crypto.subtle.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']);

const bytesOf = (hex: string): Uint8Array<ArrayBuffer> | undefined => {
  if (!/^[0-9a-f]{64}$/i.test(hex)) return undefined;
  const bytes = new Uint8Array(32);
  for (let at = 0; at < 32; at += 1) bytes[at] = Number.parseInt(hex.slice(at * 2, at * 2 + 2), 16);
  return bytes;
};

/** Seconds by which a signature's time may differ from ours, either way. */
export const toleranceSeconds = 300;

/** A body that is read only when it is needed: reading and hashing it costs more than to look at a header. */
export type LazyBody = () => Promise<Uint8Array>;

/**
 * Whether any of the secrets signed these bytes (HMAC-SHA256, hex). The comparison is Web Crypto's and takes the same
 * time wherever the bytes differ. Empty secrets never match. Several are taken at once, so that one can be replaced.
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

/** The time and the signatures of a header `t=<unix seconds>,v1=<hex>[,v1=<hex>…]`, if its time is within the tolerance. */
function claimOf(header: string, now: Date): { time: string; signatures: string[] } | undefined {
  const fields = header.split(',').map((field) => field.trim());
  const times = fields.filter((field) => field.startsWith('t=')).map((field) => field.slice(2));
  const [time] = times;
  if (times.length !== 1 || time === undefined || !/^\d{1,12}$/.test(time)) return undefined;
  if (Math.abs(now.getTime() / 1000 - Number(time)) > toleranceSeconds) return undefined;
  const signatures = fields.filter((field) => field.startsWith('v1=')).map((field) => field.slice(3));
  return { time, signatures: signatures.slice(0, 4) };
}

/**
 * Whether `header`, in the form `t=<unix seconds>,v1=<hex>[,v1=<hex>…]`, signs `<t>.` and the body's bytes with one of the
 * secrets and its time is within the tolerance of `now`. Without such a header the body is not read.
 */
export async function isFreshAndSignedBy(
  secrets: string[],
  header: string,
  body: LazyBody,
  now: Date,
): Promise<boolean> {
  const claim = claimOf(header, now);
  if (!claim) return false;
  let message: Uint8Array | undefined;
  const withTime = async (): Promise<Uint8Array> => {
    if (message) return message;
    const [start, rest] = [encoder.encode(`${claim.time}.`), await body()];
    message = new Uint8Array(start.byteLength + rest.byteLength);
    message.set(start);
    message.set(rest, start.byteLength);
    return message;
  };
  for (const signature of claim.signatures) if (await isSignedBy(secrets, withTime, signature)) return true;
  return false;
}

/** Whether a token is one of the secrets. Compares digests, so that time tells nothing of how much of it was right. */
export async function matchesSecret(secrets: string[], token: string): Promise<boolean> {
  const wanted = new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(token)));
  let matched = false;
  for (const secret of secrets) {
    if (secret === '') continue;
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(secret)));
    let difference = 0;
    digest.forEach((byte, index) => {
      difference |= byte ^ (wanted[index] ?? 0);
    });
    matched = matched || difference === 0;
  }
  return matched;
}
