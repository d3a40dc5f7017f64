type Line = { [name: string]: unknown };

/** wrangler's own line for each request and each batch of a queue, beside the Worker's. */
const wranglerRequest = /^\[wrangler:info\] (?:[A-Z]+ \S+ \d{3}|QUEUE \S+ \d+\/\d+) /;
const internals = new Set(['time', 'kind', 'id', 'tenant', 'outcome', 'durationMs', 'dbCalls', 'dbMs']);

const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value ?? null));

/** The values that only some lines have, as `name=value`. */
const rest = (line: Line, shown: string[]): string =>
  Object.entries(line)
    .filter(([name, value]) => !internals.has(name) && !shown.includes(name) && value !== null && value !== 0)
    .map(([name, value]) => ` ${name}=${text(value)}`)
    .join('');

function requestLine(line: Line): string {
  const { method, path, status, durationMs, tenant, outcome, reason } = line;
  const refused = outcome === 'ok' ? '' : `  ${text(outcome)}: ${text(reason)}`;
  const more = rest(line, ['operation', 'method', 'path', 'status', 'reason']);
  return `${text(method)} ${text(path)} ${text(status)} ${text(durationMs)} ms${tenant ? `  ${text(tenant)}` : ''}${refused}${more}`;
}

function workLine(line: Line): string | undefined {
  const { kind, id, outcome, durationMs } = line;
  if (kind === 'message') {
    const { service, topic, messages } = line;
    const ended = outcome === 'ok' ? '' : `  ${text(outcome)}`;
    const what = `${text(service)} took ${text(topic)}${typeof messages === 'number' && messages > 1 ? ` ×${messages}` : ''}`;
    return `${what} ${text(durationMs)} ms${ended}${rest(line, ['service', 'topic', 'messages'])}`;
  }
  const more = rest(line, []);
  // A job that found nothing to do, or a relay that delivered, is no news.
  if (outcome === 'ok' && (kind === 'relay' || more === '')) return undefined;
  return `${kind === 'job' ? text(id).replace(/ \S*$/, '') : text(kind)} ${text(outcome)} ${text(durationMs)} ms${more}`;
}

/**
 * A line of `wrangler dev` for a person: the Worker's JSON as one readable line that begins with the local time. Undefined:
 * it says nothing new, such as wrangler's repetition of a request.
 */
export function readableLine(raw: string): string | undefined {
  if (wranglerRequest.test(raw)) return undefined;
  let line: Line;
  try {
    line = raw.startsWith('{') ? JSON.parse(raw) : {};
  } catch {
    return raw;
  }
  if (typeof line.time !== 'string' || typeof line.kind !== 'string') return raw;
  const said = line.kind === 'request' ? requestLine(line) : workLine(line);
  return said === undefined ? undefined : `${new Date(line.time).toTimeString().slice(0, 8)} ${said}`;
}
