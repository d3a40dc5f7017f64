/** Why a line is left out: codes of the API that a line by itself can have. */
export const lineCodes = ['malformed_json', 'body_too_large', 'validation_failed'] as const;

export type LineCode = (typeof lineCodes)[number];

/**
 * A line of a stream, without its `\n`, or why it is none. Lines count from 1. Lines of white space alone that follow
 * each other may come as one text, which then has their `\n`.
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

/** The lines of white space that begin at `from`: how many, and where the last of them ends. */
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

/** After so many lines others get their turn: what is read at once takes no time of the event loop by itself. */
const linesInTurn = 1_000;
const othersTurn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/**
 * Splits a stream of bytes of any length into lines of UTF-8, holding no more than one line of it. A line of more than
 * 1 MB or of other bytes than UTF-8 is told as such, and the next one is read. A byte order mark at the start is left
 * out.
 */
export async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let line = 1;
  let parts: Uint8Array[] = [];
  let size = 0;

  function take(part: Uint8Array): void {
    size += part.byteLength;
    if (size > limitBytes) parts = [];
    else if (part.byteLength > 0) parts.push(part);
  }

  function end(): Line {
    const at = line++;
    const [held, length] = [parts, size];
    parts = [];
    size = 0;
    if (length > limitBytes) return { line: at, code: 'body_too_large', detail: 'A line may have 1 MB at most.' };
    try {
      const text = decoder.decode(join(held, length));
      return { line: at, text: at === 1 ? text.replace(/^\ufeff/, '') : text };
    } catch {
      return { line: at, code: 'validation_failed', detail: 'The line is not UTF-8.' };
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
      take(chunk.subarray(from, to));
      from = to + 1;
      yield end();
      if (line % linesInTurn === 0) await othersTurn();
    }
    // The stream may use the chunk's memory again.
    take(chunk.slice(from));
  }
  if (size > 0) yield end();
}
