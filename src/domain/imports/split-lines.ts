/** The error codes of a single line. */
export const lineCodes = [
  'malformed_json',
  'body_too_large',
  'validation_failed',
  'variant_taken',
  'slug_taken',
] as const;

export type LineCode = (typeof lineCodes)[number];

/**
 * A line of a stream without its `\n`, or an error. `line` counts from 1. Consecutive blank lines may come as one text
 * that includes their `\n`.
 */
export type Line = { line: number; text: string } | { line: number; code: LineCode; detail: string };

const limitBytes = 1_048_576;
const newline = 0x0a;

function join(parts: Uint8Array[], size: number): Uint8Array {
  if (parts.length === 1 && parts[0]) return parts[0];
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

const isBlank = (byte: number | undefined): boolean =>
  byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === newline;

/** The blank lines that begin at `from`: their number, and the index of the last one's end. */
function blankLines(chunk: Uint8Array, from: number): { count: number; end: number } {
  let count = 0;
  let end = from;
  for (let at = from; isBlank(chunk[at]); at++) {
    if (chunk[at] !== newline) continue;
    count++;
    end = at;
  }
  return { count, end };
}

/**
 * After this many lines the loop yields, because buffered lines are otherwise read without returning to the event loop.
 */
const linesBetweenYields = 1_000;
const yieldToOthers = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/**
 * Splits a byte stream of any length into lines of UTF-8 and holds at most one line. A line of more than 1 MB, or one
 * that is not UTF-8, is reported as an error, and reading continues. A byte order mark at the start is dropped.
 */
export async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let line = 1;
  let parts: Uint8Array[] = [];
  let size = 0;

  function append(part: Uint8Array): void {
    size += part.byteLength;
    if (size > limitBytes) parts = [];
    else if (part.byteLength > 0) parts.push(part);
  }

  function finishLine(): Line {
    const number = line++;
    const [lineParts, length] = [parts, size];
    parts = [];
    size = 0;
    if (length > limitBytes) return { line: number, code: 'body_too_large', detail: 'A line may have 1 MB at most.' };
    try {
      const text = decoder.decode(join(lineParts, length));
      return { line: number, text: number === 1 ? text.replace(/^\ufeff/, '') : text };
    } catch {
      return { line: number, code: 'validation_failed', detail: 'The line is not UTF-8.' };
    }
  }

  for await (const chunk of body) {
    let from = 0;
    for (;;) {
      const blank = size === 0 ? blankLines(chunk, from) : { count: 0, end: from };
      if (blank.count > 0) {
        yield { line, text: decoder.decode(chunk.subarray(from, blank.end)) };
        line += blank.count;
        from = blank.end + 1;
      }
      const to = chunk.indexOf(newline, from);
      if (to === -1) break;
      append(chunk.subarray(from, to));
      from = to + 1;
      yield finishLine();
      if (line % linesBetweenYields === 0) await yieldToOthers();
    }
    // A copy, since the stream may reuse the chunk's memory.
    append(chunk.slice(from));
  }
  if (size > 0) yield finishLine();
}
