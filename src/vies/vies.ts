import * as z from 'zod';

/** How long VIES may take. It asks the member state's own register, which can be slow. */
const deadlineMs = 10_000;

/**
 * What VIES answers. `userError` is VALID or INVALID if the register was asked. Otherwise it says why not, such as
 * MS_UNAVAILABLE or MS_MAX_CONCURRENT_REQ. A request that is not accepted has `errorWrappers` instead.
 */
const answer = z.object({
  isValid: z.boolean().optional(),
  userError: z.string().optional(),
  errorWrappers: z.array(z.object({ error: z.string() })).optional(),
});

/** VIES could not say whether a number is valid. `code`: its reason, or what failed on the way. */
export class ViesUnavailable extends Error {
  constructor(code: string) {
    super(`VIES is unavailable (${code.slice(0, 64)}).`);
    this.name = 'ViesUnavailable';
  }
}

async function ask(url: string, number: string): Promise<z.infer<typeof answer>> {
  try {
    const path = `/ms/${number.slice(0, 2)}/vat/${encodeURIComponent(number.slice(2))}`;
    const response = await fetch(url.replace(/\/+$/, '') + path, {
      headers: { Accept: 'application/json', 'User-Agent': 'FusionCommerce' },
      signal: AbortSignal.timeout(deadlineMs),
    });
    const body = answer.safeParse(await response.json());
    if (!body.success) throw new ViesUnavailable(`status ${response.status}`);
    return body.data;
  } catch (error) {
    if (error instanceof ViesUnavailable) throw error;
    const isLate = error instanceof Error && ['TimeoutError', 'AbortError'].includes(error.name);
    throw new ViesUnavailable(isLate ? 'no answer within 10 s' : 'no answer');
  }
}

/**
 * Whether a normalized VAT number is registered, by VIES (REST, `GET /ms/{country}/vat/{number}`). The name and address
 * that it returns are not read.
 * @throws ViesUnavailable
 */
export async function isVatRegistered(url: string, number: string): Promise<boolean> {
  const { isValid, userError, errorWrappers } = await ask(url, number);
  const code = userError ?? errorWrappers?.[0]?.error ?? (isValid ? 'VALID' : 'no result');
  if (isValid === true && code === 'VALID') return true;
  if (code === 'INVALID' || code === 'INVALID_INPUT') return false;
  throw new ViesUnavailable(code);
}
