import type { Schema } from './generate.ts';

/** What says nothing of which events are valid. */
const annotations = new Set([
  '$schema',
  '$id',
  '$comment',
  'title',
  'description',
  'examples',
  'default',
  'deprecated',
]);

const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const listed = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));

/** A value in which order of members, and of enums, does not matter. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted).sort((a, b) => (text(a) < text(b) ? -1 : 1));
  if (!isObject(value)) return value;
  const entries = Object.entries(value).filter(([name]) => !annotations.has(name));
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inner]) => [name, sorted(inner)]));
}

function memberBreaks(was: Schema, is: Schema, at: string): string[] {
  const before = isObject(was.properties) ? was.properties : {};
  const after = isObject(is.properties) ? is.properties : {};
  const [needed, needs] = [new Set(listed(was.required)), new Set(listed(is.required))];
  const known = Object.keys(before).flatMap((name) => {
    const here = `${at}/${name}`;
    const [old, now] = [before[name], after[name]];
    if (!isObject(now)) return [`${here} is removed: readers use it`];
    const breaks = isObject(old) ? findBreaks(old, now, here) : [];
    if (needed.has(name) && !needs.has(name)) breaks.push(`${here} may be missing now: readers rely on it`);
    if (!needed.has(name) && needs.has(name)) breaks.push(`${here} is required now: events in Kafka lack it`);
    return breaks;
  });
  const added = Object.keys(after).filter((name) => !(name in before) && needs.has(name));
  return [...known, ...added.map((name) => `${at}/${name} is new and required: events in Kafka lack it`)];
}

function enumBreaks(was: unknown[], is: unknown[], at: string): string[] {
  const more = is.filter((value) => !was.includes(value));
  const less = was.filter((value) => !is.includes(value));
  return [
    ...(more.length > 0 ? [`${at} may be ${more.map(text).join(', ')} now: readers do not know that`] : []),
    ...(less.length > 0 ? [`${at} may not be ${less.map(text).join(', ')} any more: events in Kafka are`] : []),
  ];
}

/**
 * Where a schema has become one that some reader cannot live with. Readers of the published schema read new events
 * (forward), and readers of the new one read what Kafka keeps from before, 90 days of it (backward). So the only change
 * that is none of these is a new member that may be missing; words of explanation are free.
 */
export function findBreaks(published: Schema, next: Schema, at = ''): string[] {
  const keywords = new Set([...Object.keys(published), ...Object.keys(next)].filter((name) => !annotations.has(name)));
  const breaks = memberBreaks(published, next, at);
  for (const keyword of keywords) {
    const [was, is] = [published[keyword], next[keyword]];
    if (keyword === 'properties' || keyword === 'required') continue;
    if (keyword === 'items' && isObject(was) && isObject(is)) breaks.push(...findBreaks(was, is, `${at}[]`));
    else if (keyword === 'enum' && Array.isArray(was) && Array.isArray(is)) breaks.push(...enumBreaks(was, is, at));
    else if (keyword === 'anyOf' && Array.isArray(was) && Array.isArray(is) && was.length === is.length) {
      breaks.push(...was.flatMap((old, index) => findBreaks(old, is[index], at)));
    } else if (text(sorted(was)) !== text(sorted(is))) {
      breaks.push(`${at === '' ? 'the payload' : at}: ${keyword} was ${text(was)} and is ${text(is)}`);
    }
  }
  return breaks;
}
