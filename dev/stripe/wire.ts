import type * as z from 'zod';

// Stripe's wire format: form-encoded requests, JSON responses and Stripe's error objects.

export type Form = { [name: string]: string | Form };

export type ErrorBody = {
  type: 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error';
  message: string;
  code?: string;
  decline_code?: string;
  param?: string;
  [extra: string]: unknown;
};

/** A Stripe error with its HTTP status. `saved` says whether an idempotency key keeps it. */
export class StripeFailure extends Error {
  readonly status: number;
  readonly body: ErrorBody;
  readonly saved: boolean;
  readonly headers: Record<string, string>;

  constructor(status: number, body: ErrorBody, options: { saved?: boolean; headers?: Record<string, string> } = {}) {
    super(body.message);
    this.status = status;
    this.body = body;
    this.saved = options.saved ?? true;
    this.headers = options.headers ?? {};
  }
}

/** A 400 from inside an endpoint. The idempotency key keeps it, because the endpoint had started. */
export function badRequest(message: string, extra: { code?: string; param?: string; [field: string]: unknown } = {}) {
  return new StripeFailure(400, { type: 'invalid_request_error', message, ...extra });
}

/** A 400 for invalid parameters. The idempotency key does not keep it (docs: idempotent requests). */
export function invalid(message: string, param: string, code?: string) {
  const body: ErrorBody = { type: 'invalid_request_error', message, param, ...(code === undefined ? {} : { code }) };
  return new StripeFailure(400, body, { saved: false });
}

/** Stripe's `resource_missing`: 404 for an object that the path names, 400 for one that a parameter names. */
export function missing(kind: string, id: string, param: string, status: 400 | 404 = 400) {
  const message = `No such ${kind}: '${id}'`;
  return new StripeFailure(status, { type: 'invalid_request_error', code: 'resource_missing', message, param });
}

/** Validates the body of a request under `/_emulator/`. */
export function readControlBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw badRequest(`${issue?.path.join('.') ?? ''} ${issue?.message ?? 'is invalid'}`.trim());
}

/** Parses `a=1&b[c]=2&d[0]=3&e[]=4` into a tree. Array indexes become keys. */
export function parseForm(text: string): Form {
  const root: Form = Object.create(null);
  for (const [rawName, value] of new URLSearchParams(text)) {
    const path = rawName.split(/[[\]]+/).filter((part, index) => index === 0 || part !== '');
    if (rawName.endsWith('[]')) path.push('');
    let node = root;
    for (const [index, part] of path.entries()) {
      const key = part === '' && index > 0 ? String(Object.keys(node).length) : part;
      if (index === path.length - 1) {
        node[key] = value;
        break;
      }
      const next = node[key];
      const child: Form = typeof next === 'object' ? next : Object.create(null);
      node[key] = child;
      node = child;
    }
  }
  return root;
}

// Parameters of the real API that the emulator does not support. It rejects them instead of ignoring them.
const NOT_EMULATED = new Set(
  `account_token address allowed_payment_method_types amount_details amount_to_confirm application_fee_amount balance business_name
  capture_method company confirmation_method confirmation_token customer_account hooks
  individual_name instructions_email invoice_settings mandate mandate_data on_behalf_of origin payment_details
  individual payment_method_configuration payment_method_options preferred_locales radar_options refund_application_fee
  reverse_transfer settings shipping single_use source tax tax_exempt tos_acceptance transfer_data`.split(/\s+/),
);

/** Typed access to the parameters of a request. Invalid parameters throw Stripe's error. */
export class Params {
  readonly form: Form;
  readonly #prefix: string;

  constructor(form: Form, prefix = '') {
    this.form = form;
    this.#prefix = prefix;
  }

  #fullName(name: string): string {
    return this.#prefix === '' ? name : `${this.#prefix}[${name}]`;
  }

  /** Throws if there is a parameter that is not in `names`. `expand` is always allowed. */
  allowOnly(names: readonly string[]): void {
    const unknown = Object.keys(this.form).filter((name) => name !== 'expand' && !names.includes(name));
    const first = unknown[0];
    if (first === undefined) return;
    if (unknown.every((name) => NOT_EMULATED.has(name))) {
      throw invalid(`The emulator does not support the parameter ${first} of Stripe's API.`, this.#fullName(first));
    }
    const list = unknown.map((name) => this.#fullName(name)).join(', ');
    const noun = unknown.length === 1 ? 'parameter' : 'parameters';
    throw invalid(`Received unknown ${noun}: ${list}`, this.#fullName(first), 'parameter_unknown');
  }

  /** A reader of other parameters with the same prefix. */
  withForm(form: Form): Params {
    return new Params(form, this.#prefix);
  }

  has(name: string): boolean {
    return this.form[name] !== undefined;
  }

  /** The string, `''` if the client unsets the field, or `undefined` if the parameter is missing. */
  text(name: string): string | undefined {
    const value = this.form[name];
    if (typeof value === 'object') throw invalid('Invalid string: {...}', this.#fullName(name));
    return value;
  }

  required(name: string): string {
    const value = this.text(name);
    if (value === undefined) {
      throw invalid(`Missing required param: ${this.#fullName(name)}.`, this.#fullName(name), 'parameter_missing');
    }
    return this.rejectEmpty(name, value);
  }

  optional(name: string): string | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : this.rejectEmpty(name, value);
  }

  private rejectEmpty(name: string, value: string): string {
    if (value !== '') return value;
    const param = this.#fullName(name);
    const message =
      `You passed an empty string for '${param}'. We assume empty values are an attempt to unset a parameter; ` +
      `however '${param}' cannot be unset. You should remove '${param}' from your request or supply a non-empty value.`;
    throw invalid(message, param, 'parameter_invalid_empty');
  }

  /** An integer of at least `minimum`. */
  integer(name: string, minimum = 0): number | undefined {
    const value = this.optional(name);
    if (value === undefined) return undefined;
    const param = this.#fullName(name);
    if (!/^-?\d{1,15}$/.test(value)) throw invalid(`Invalid integer: ${value}`, param, 'parameter_invalid_integer');
    if (Number(value) < minimum) {
      throw invalid(
        `This value must be greater than or equal to ${minimum} (it currently is '${value}').`,
        param,
        'parameter_invalid_integer',
      );
    }
    return Number(value);
  }

  requiredInteger(name: string, minimum = 0): number {
    return this.integer(name, minimum) ?? Number(this.required(name));
  }

  flag(name: string): boolean | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (value === 'true' || value === 'false') return value === 'true';
    throw invalid(`Invalid boolean: ${value}`, this.#fullName(name));
  }

  choice<T extends string>(name: string, options: readonly T[]): T | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const found = options.find((option) => option === value);
    if (found !== undefined) return found;
    const last = options.at(-1) ?? '';
    const listed = options.length < 2 ? last : `${options.slice(0, -1).join(', ')}, or ${last}`;
    throw invalid(`Invalid ${this.#fullName(name)}: must be one of ${listed}`, this.#fullName(name));
  }

  list(name: string): string[] | undefined {
    const value = this.form[name];
    if (value === undefined) return undefined;
    if (typeof value === 'string') throw invalid('Invalid array', this.#fullName(name));
    return Object.values(value).filter((item) => typeof item === 'string');
  }

  child(name: string): Params | undefined {
    const value = this.form[name];
    if (value === undefined || value === '') return undefined;
    if (typeof value === 'string') throw invalid('Invalid object', this.#fullName(name));
    return new Params(value, this.#fullName(name));
  }

  /**
   * Returns `current` merged with the request's metadata. An empty value removes a key. Limits: 50 keys, 40 characters
   * per key, 500 characters per value.
   */
  metadata(current: Record<string, string> = {}): Record<string, string> {
    const update = this.form.metadata;
    if (update === undefined) return current;
    if (update === '') return {};
    if (typeof update === 'string') throw invalid('Invalid metadata: must be an object', 'metadata');
    const merged = { ...current };
    for (const [key, value] of Object.entries(update)) {
      const param = `metadata[${key}]`;
      if (typeof value === 'object') throw invalid('Metadata values must be strings', param);
      if (key.length > 40) throw invalid('Metadata keys must be at most 40 characters', param);
      if (value.length > 500) throw invalid('Metadata values must be at most 500 characters', param);
      if (value === '') delete merged[key];
      else merged[key] = value;
    }
    if (Object.keys(merged).length > 50) throw invalid('Metadata can have at most 50 keys', 'metadata');
    return merged;
  }
}
