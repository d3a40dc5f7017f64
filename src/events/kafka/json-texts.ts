/**
 * JSON objects that follow each other without commas ("concatenated JSON"), with or without white space between. What
 * breaks off at the end is left out.
 * @throws SyntaxError if something else is among them
 */
export function splitJsonObjects(text: string): unknown[] {
  const found: unknown[] = [];
  let depth = 0;
  let start = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (quoted) {
      if (character === '\\') at++;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === '{') {
      if (depth++ === 0) {
        if (text.slice(start, at).trim() !== '') throw new SyntaxError('something that is no JSON object');
        start = at;
      }
    } else if (character === '}' && --depth === 0) {
      found.push(JSON.parse(text.slice(start, at + 1)));
      start = at + 1;
    }
  }
  if (depth === 0 && text.slice(start).trim() !== '') throw new SyntaxError('something that is no JSON object');
  return found;
}
