import type * as z from 'zod';

// Stripe's wire format: form-encoded parameters in, JSON and its error envelope out.

export type Form = { [name: string]: string | Form };

export type ErrorBody = {
  type: 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error';
  message: string;
  code?: string;
  decline_code?: string;
  param?: string;
  [extra: string]: unknown;
};

/** An answer that is an error, with Stripe's HTTP status. `saved` says whether an idempotency key keeps it. */
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

/** A 400 from inside an endpoint: it had begun, so its idempotency key keeps the answer. */
export function refuse(message: string, extra: { code?: string; param?: string; [more: string]: unknown } = {}) {
  return new StripeFailure(400, { type: 'invalid_request_error', message, ...extra });
}

/** A 400 for parameters that do not validate: Stripe saves no result for these (docs: idempotent requests). */
export function invalid(message: string, param: string, code?: string) {
  const body: ErrorBody = { type: 'invalid_request_error', message, param, ...(code === undefined ? {} : { code }) };
  return new StripeFailure(400, body, { saved: false });
}

/** `resource_missing`: 404 for the object that the path names, 400 for one that a parameter names. */
export function missing(kind: string, id: string, param: string, status: 400 | 404 = 400) {
  const message = `No such ${kind}: '${id}'`;
  return new StripeFailure(status, { type: 'invalid_request_error', code: 'resource_missing', message, param });
}

/** The body of one of the emulator's own switches. */
export function readSwitch<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw refuse(`${issue?.path.join('.') ?? ''} ${issue?.message ?? 'is invalid'}`.trim());
}

/** Reads `a=1&b[c]=2&d[0]=3&e[]=4` into a tree; array indexes stay as keys. */
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

// Parameters that the real API takes where the emulator does not: better refused than silently without effect.
const NOT_EMULATED = new Set(
  `address allowed_payment_method_types amount_details amount_to_confirm application_fee_amount balance business_name
  capture_method confirmation_method confirmation_token customer_account hooks
  individual_name instructions_email invoice_settings mandate mandate_data on_behalf_of origin payment_details
  payment_method_configuration payment_method_options preferred_locales radar_options refund_application_fee
  reverse_transfer shipping single_use source tax tax_exempt transfer_data`.split(/\s+/),
);

/** Typed access to a request's parameters; what does not fit is refused in Stripe's words. */
export class Params {
  readonly form: Form;
  readonly #prefix: string;

  constructor(form: Form, prefix = '') {
    this.form = form;
    this.#prefix = prefix;
  }

  #named(name: string): string {
    return this.#prefix === '' ? name : `${this.#prefix}[${name}]`;
  }

  /** Refuses every parameter that is not in `names` (`expand` is always taken). */
  only(names: readonly string[]): void {
    const unknown = Object.keys(this.form).filter((name) => name !== 'expand' && !names.includes(name));
    const first = unknown[0];
    if (first === undefined) return;
    if (unknown.every((name) => NOT_EMULATED.has(name))) {
      throw invalid(`Stripe has the parameter ${first}; the emulator does not, so it refuses it.`, this.#named(first));
    }
    const list = unknown.map((name) => this.#named(name)).join(', ');
    const noun = unknown.length === 1 ? 'parameter' : 'parameters';
    throw invalid(`Received unknown ${noun}: ${list}`, this.#named(first), 'parameter_unknown');
  }

  /** The same reader over other parameters. */
  of(form: Form): Params {
    return new Params(form, this.#prefix);
  }

  has(name: string): boolean {
    return this.form[name] !== undefined;
  }

  /** The string, `''` where the client unsets it, `undefined` where it says nothing. */
  text(name: string): string | undefined {
    const value = this.form[name];
    if (typeof value === 'object') throw invalid('Invalid string: {...}', this.#named(name));
    return value;
  }

  required(name: string): string {
    const value = this.text(name);
    if (value === undefined) {
      throw invalid(`Missing required param: ${this.#named(name)}.`, this.#named(name), 'parameter_missing');
    }
    return this.filled(name, value);
  }

  optional(name: string): string | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : this.filled(name, value);
  }

  private filled(name: string, value: string): string {
    if (value !== '') return value;
    const param = this.#named(name);
    const message =
      `You passed an empty string for '${param}'. We assume empty values are an attempt to unset a parameter; ` +
      `however '${param}' cannot be unset. You should remove '${param}' from your request or supply a non-empty value.`;
    throw invalid(message, param, 'parameter_invalid_empty');
  }

  /** A whole number of at least `least`. */
  integer(name: string, least = 0): number | undefined {
    const value = this.optional(name);
    if (value === undefined) return undefined;
    const param = this.#named(name);
    if (!/^-?\d{1,15}$/.test(value)) throw invalid(`Invalid integer: ${value}`, param, 'parameter_invalid_integer');
    if (Number(value) < least) {
      throw invalid(
        `This value must be greater than or equal to ${least} (it currently is '${value}').`,
        param,
        'parameter_invalid_integer',
      );
    }
    return Number(value);
  }

  requiredInteger(name: string, least = 0): number {
    return this.integer(name, least) ?? Number(this.required(name));
  }

  flag(name: string): boolean | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (value === 'true' || value === 'false') return value === 'true';
    throw invalid(`Invalid boolean: ${value}`, this.#named(name));
  }

  choice<T extends string>(name: string, options: readonly T[]): T | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const found = options.find((option) => option === value);
    if (found !== undefined) return found;
    const last = options.at(-1) ?? '';
    const listed = options.length < 2 ? last : `${options.slice(0, -1).join(', ')}, or ${last}`;
    throw invalid(`Invalid ${this.#named(name)}: must be one of ${listed}`, this.#named(name));
  }

  list(name: string): string[] | undefined {
    const value = this.form[name];
    if (value === undefined) return undefined;
    if (typeof value === 'string') throw invalid('Invalid array', this.#named(name));
    return Object.values(value).filter((item) => typeof item === 'string');
  }

  child(name: string): Params | undefined {
    const value = this.form[name];
    if (value === undefined || value === '') return undefined;
    if (typeof value === 'string') throw invalid('Invalid object', this.#named(name));
    return new Params(value, this.#named(name));
  }

  /** Metadata as it becomes: keys are merged, an empty value unsets one. Limits: 50 keys, 40 and 500 characters. */
  metadata(current: Record<string, string> = {}): Record<string, string> {
    const given = this.form.metadata;
    if (given === undefined) return current;
    if (given === '') return {};
    if (typeof given === 'string') throw invalid('Invalid metadata: must be an object', 'metadata');
    const merged = { ...current };
    for (const [key, value] of Object.entries(given)) {
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
