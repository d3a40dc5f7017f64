import type { Schema } from './generate.ts';

/** Keywords that do not affect which events are valid. */
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
const asList = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const format = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));

/** Sorts properties and lists, and drops annotations, so that two schemas compare by meaning. */
function normalize(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normalize).sort((a, b) => (format(a) < format(b) ? -1 : 1));
  if (!isObject(value)) return value;
  const entries = Object.entries(value).filter(([name]) => !annotations.has(name));
  return Object.fromEntries(
    entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inner]) => [name, normalize(inner)]),
  );
}

function findPropertyChanges(oldSchema: Schema, newSchema: Schema, path: string): string[] {
  const before = isObject(oldSchema.properties) ? oldSchema.properties : {};
  const after = isObject(newSchema.properties) ? newSchema.properties : {};
  const [requiredBefore, requiredAfter] = [new Set(asList(oldSchema.required)), new Set(asList(newSchema.required))];
  const known = Object.keys(before).flatMap((name) => {
    const propertyPath = `${path}/${name}`;
    const [oldProperty, newProperty] = [before[name], after[name]];
    if (!isObject(newProperty)) return [`${propertyPath} is removed: readers use it`];
    const changes = isObject(oldProperty) ? findBreakingChanges(oldProperty, newProperty, propertyPath) : [];
    if (requiredBefore.has(name) && !requiredAfter.has(name)) {
      changes.push(`${propertyPath} is optional now: readers rely on it`);
    }
    if (!requiredBefore.has(name) && requiredAfter.has(name)) {
      changes.push(`${propertyPath} is required now: events in Kafka may lack it`);
    }
    return changes;
  });
  const added = Object.keys(after).filter((name) => !(name in before) && requiredAfter.has(name));
  return [...known, ...added.map((name) => `${path}/${name} is new and required: events in Kafka lack it`)];
}

function findEnumChanges(oldValues: unknown[], newValues: unknown[], path: string): string[] {
  const added = newValues.filter((value) => !oldValues.includes(value));
  const removed = oldValues.filter((value) => !newValues.includes(value));
  return [
    ...(added.length > 0 ? [`${path} may be ${added.map(format).join(', ')} now: readers do not know this value`] : []),
    ...(removed.length > 0
      ? [`${path} cannot be ${removed.map(format).join(', ')} any more: events in Kafka may have this value`]
      : []),
  ];
}

/**
 * Finds changes that break a reader. Readers of the published schema read new events (forward), and readers of the new
 * one read old events, which Kafka keeps for up to 90 days (backward). So only a new optional property and a changed
 * description are allowed.
 */
export function findBreakingChanges(published: Schema, next: Schema, path = ''): string[] {
  const keywords = new Set([...Object.keys(published), ...Object.keys(next)].filter((name) => !annotations.has(name)));
  const changes = findPropertyChanges(published, next, path);
  for (const keyword of keywords) {
    const [before, after] = [published[keyword], next[keyword]];
    if (keyword === 'properties' || keyword === 'required') continue;
    if (keyword === 'items' && isObject(before) && isObject(after)) {
      changes.push(...findBreakingChanges(before, after, `${path}[]`));
    } else if (keyword === 'enum' && Array.isArray(before) && Array.isArray(after)) {
      changes.push(...findEnumChanges(before, after, path));
    } else if (keyword === 'anyOf' && Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
      changes.push(...before.flatMap((old, index) => findBreakingChanges(old, after[index], path)));
    } else if (format(normalize(before)) !== format(normalize(after))) {
      changes.push(`${path === '' ? 'the payload' : path}: ${keyword} was ${format(before)} and is ${format(after)}`);
    }
  }
  return changes;
}
