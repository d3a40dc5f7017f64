import type { Store } from './harness.ts';

export type LiveEvent = { id: string; event: string; data: Record<string, unknown> };

/** Opens a stream of live events. `watched` has the events received so far, and `reading` resolves at its end. */
export async function watchLive({ url }: Pick<Store, 'url'>, key: string, path: string, lastEventId?: string) {
  const headers = {
    authorization: `Bearer ${key}`,
    ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
  };
  const response = await fetch(url + path, { headers });
  const watched = {
    status: response.status,
    type: response.headers.get('content-type'),
    received: [] as LiveEvent[],
    text: '',
    ended: false,
  };
  const decoder = new TextDecoder();
  const reading = (async () => {
    for await (const chunk of response.body ?? []) {
      watched.text += decoder.decode(chunk, { stream: true });
      watched.received = watched.text
        .split('\n\n')
        .filter((block) => block.includes('data: '))
        .map((block) => {
          const fields = new Map(
            block.split('\n').map((line) => [line.split(': ', 1)[0], line.slice(line.indexOf(': ') + 2)]),
          );
          return {
            id: fields.get('id') ?? '',
            event: fields.get('event') ?? '',
            data: JSON.parse(fields.get('data') ?? '{}'),
          };
        });
    }
    watched.ended = true;
  })();
  return { watched, reading };
}
