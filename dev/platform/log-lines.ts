type Line = { [name: string]: unknown };

/** wrangler prints a line for each request and queue batch too, beside the Worker's log line. */
const wranglerRequest = /^\[wrangler:info\] (?:[A-Z]+ \S+ \d{3}|QUEUE \S+ \d+\/\d+) /;
const hiddenFields = new Set(['time', 'kind', 'id', 'tenant', 'outcome', 'durationMs', 'dbCalls', 'dbMs']);

const formatValue = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value ?? null));

/** The remaining fields as `name=value`, without nulls and zeros. */
const formatExtraFields = (line: Line, shown: string[]): string =>
  Object.entries(line)
    .filter(([name, value]) => !hiddenFields.has(name) && !shown.includes(name) && value !== null && value !== 0)
    .map(([name, value]) => ` ${name}=${formatValue(value)}`)
    .join('');

function formatRequest(line: Line): string {
  const { method, path, status, durationMs, tenant, outcome, reason } = line;
  const error = outcome === 'ok' ? '' : `  ${formatValue(outcome)}: ${formatValue(reason)}`;
  const extra = formatExtraFields(line, ['operation', 'method', 'path', 'status', 'reason']);
  return `${formatValue(method)} ${formatValue(path)} ${formatValue(status)} ${formatValue(durationMs)} ms${tenant ? `  ${formatValue(tenant)}` : ''}${error}${extra}`;
}

function formatWork(line: Line): string | undefined {
  const { kind, id, outcome, durationMs } = line;
  if (kind === 'message') {
    const { service, topic, messages } = line;
    const error = outcome === 'ok' ? '' : `  ${formatValue(outcome)}`;
    const subject = `${formatValue(service)} took ${formatValue(topic)}${typeof messages === 'number' && messages > 1 ? ` ×${messages}` : ''}`;
    return `${subject} ${formatValue(durationMs)} ms${error}${formatExtraFields(line, ['service', 'topic', 'messages'])}`;
  }
  const extra = formatExtraFields(line, []);
  // Hide jobs that had nothing to do and relays without errors.
  if (outcome === 'ok' && (kind === 'relay' || extra === '')) return undefined;
  return `${kind === 'job' ? formatValue(id).replace(/ \S*$/, '') : formatValue(kind)} ${formatValue(outcome)} ${formatValue(durationMs)} ms${extra}`;
}

/**
 * Formats a line of `wrangler dev` for a terminal: the Worker's JSON becomes one line that begins with the local time.
 * Returns undefined for a line that adds nothing, such as wrangler's line for a request.
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
  const formatted = line.kind === 'request' ? formatRequest(line) : formatWork(line);
  return formatted === undefined ? undefined : `${new Date(line.time).toTimeString().slice(0, 8)} ${formatted}`;
}
