const ivLength = 12;

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

const keyOf = (base64: string) =>
  crypto.subtle.importKey('raw', bytesOf(base64), 'AES-GCM', false, ['encrypt', 'decrypt']);

/** What a text belongs to, such as a tenant and a field. It decrypts only with the same owner. */
type Owner = readonly string[];

const parameters = (iv: Uint8Array<ArrayBuffer>, owner: Owner) => ({
  name: 'AES-GCM',
  iv,
  additionalData: new TextEncoder().encode(JSON.stringify(owner)),
});

/** Encrypts a text with the first key (AES-256-GCM, 32 bytes as base64), bound to its owner. @returns base64 */
export async function encrypt([key]: readonly [string, ...string[]], owner: Owner, text: string): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(ivLength));
  const plain = new TextEncoder().encode(text);
  const sealed = new Uint8Array(await crypto.subtle.encrypt(parameters(iv, owner), await keyOf(key), plain));
  return btoa(String.fromCharCode(...iv, ...sealed));
}

/** @returns the text; undefined if no key decrypts it for this owner, or if it was changed */
export async function decrypt(keys: readonly string[], owner: Owner, encrypted: string): Promise<string | undefined> {
  for (const key of keys) {
    try {
      const bytes = bytesOf(encrypted);
      const [iv, sealed] = [bytes.slice(0, ivLength), bytes.slice(ivLength)];
      return new TextDecoder().decode(await crypto.subtle.decrypt(parameters(iv, owner), await keyOf(key), sealed));
    } catch {
      // another key may be the right one
    }
  }
  return undefined;
}
