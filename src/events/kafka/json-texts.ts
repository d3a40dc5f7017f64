/**
 * Splits concatenated JSON objects, with or without white space between them. An incomplete object at the end is
 * dropped.
 * @throws SyntaxError if the text has anything other than objects
 */
export function splitJsonObjects(text: string): unknown[] {
  const found: unknown[] = [];
  let depth = 0;
  let start = 0;
  let quoted = false;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (quoted) {
      if (character === '\\') index++;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === '{') {
      if (depth++ === 0) {
        if (text.slice(start, index).trim() !== '') throw new SyntaxError('something other than a JSON object');
        start = index;
      }
    } else if (character === '}' && --depth === 0) {
      found.push(JSON.parse(text.slice(start, index + 1)));
      start = index + 1;
    }
  }
  if (depth === 0 && text.slice(start).trim() !== '') throw new SyntaxError('something other than a JSON object');
  return found;
}
