/** The part of `Accept` for a media type: its most specific range wins (RFC 9110, 12.5.1). */
function rangeOf(ranges: { range: string; q: number }[], type: string): { range: string; q: number } | undefined {
  const [group] = type.split('/');
  for (const wanted of [type, `${group}/*`, '*/*']) {
    const found = ranges.find(({ range }) => range === wanted);
    if (found) return found;
  }
  return undefined;
}

/** Whether `Accept` prefers HTML to JSON, as browsers do. Clients that accept everything equally get JSON. */
export function prefersHtml(accept: string | undefined): boolean {
  const ranges = (accept ?? '').split(',', 50).map((part) => {
    const [range = '', ...parameters] = part.toLowerCase().split(';');
    const q = parameters.map((text) => /^\s*q=([01](?:\.\d{0,3})?)\s*$/.exec(text)?.[1]).find(Boolean);
    return { range: range.trim(), q: Number(q ?? 1) };
  });
  const html = rangeOf(ranges, 'text/html');
  const json = rangeOf(ranges, 'application/json');
  if (html === undefined || html.q === 0) return false;
  if (json === undefined || html.q !== json.q) return html.q > (json?.q ?? 0);
  return html.range === 'text/html' && json.range !== 'application/json';
}
