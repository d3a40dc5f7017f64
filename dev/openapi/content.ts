// Tools would read the schema of an event stream as the schema of each event, so a stream has none.
const isText = (type: string): boolean => type.startsWith('text/') && type !== 'text/event-stream';

/** The content of a response in one of these media types. `examples`: one for each type, if there are several. */
export const contentOf = (types: string[], examples: unknown): object =>
  Object.fromEntries(
    types.map((type) => {
      const example = types.length > 1 && (examples as Record<string, string> | undefined)?.[type];
      return [type, { ...(isText(type) ? { schema: { type: 'string' } } : {}), ...(example ? { example } : {}) }];
    }),
  );

/** The HTML that a response may be instead of JSON. */
export const pageContent = (example: string): object => ({ 'text/html': { schema: { type: 'string' }, example } });
