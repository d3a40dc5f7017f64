import { build } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare, Response } from 'miniflare';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { record, utf8 } from '../support/kafka/publisher.ts';

const worker = `
  import { confluentPublisher } from './src/events/kafka/publish/confluent.ts';
  import { restV2Publisher } from './src/events/kafka/publish/rest-v2.ts';
  export default {
    async fetch(incoming) {
      const { host, records } = await incoming.json();
      const settings = { url: 'http://' + host, token: 't', clusterId: 'c', headers: true, deadlineMs: 2000 };
      const publisher = host === 'confluent' ? confluentPublisher(settings) : restV2Publisher(settings);
      return Response.json(await publisher.publish(records).catch(String));
    },
  };
`;

const requests: { url: string; body: string; authorization: string | null }[] = [];
let runtime: Miniflare;

beforeAll(async () => {
  const stdin = { contents: worker, resolveDir: `${import.meta.dirname}/../..` };
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', external: ['node:*'], write: false });
  runtime = new Miniflare(
    convertV4MiniflareOptions({
      modules: true,
      script: outputFiles[0]?.text ?? '',
      compatibilityDate: '2026-11-02',
      compatibilityFlags: ['nodejs_compat'],
      outboundService: async (request: Request) => {
        const body = await request.text();
        requests.push({ url: request.url, body, authorization: request.headers.get('authorization') });
        if (request.url.includes('rest'))
          return Response.json({ offsets: [{ partition: 1, offset: 4 }, { error_code: 500 }] });
        const report = new TextEncoder().encode(
          '{"error_code":200,"offset":7}\r\n{"error_code":42901,"message":"späte',
        );
        const split = report.length - 3; // between the two bytes of the ä
        const rest = new TextEncoder().encode('r"}');
        const parts = [report.subarray(0, 12), report.subarray(12, split), report.subarray(split), rest];
        return new Response(
          new ReadableStream({
            async pull(controller) {
              const part = parts.shift();
              if (part) controller.enqueue(part);
              else controller.close();
            },
          }),
        );
      },
    }),
  );
});

afterAll(() => runtime.dispose());

const publish = async (host: string, values: string[]) => {
  const body = JSON.stringify({ host, records: values.map((value) => record(value)) });
  return (await runtime.dispatchFetch('http://worker/', { method: 'POST', body })).json();
};

test('in workerd, the Confluent publisher reads the result of each record from the stream', async () => {
  expect(await publish('confluent', ['Zürich 🏙', 'Rome'])).toEqual([
    { ok: true },
    { ok: false, permanent: false, reason: 'cities: 42901: später' },
  ]);
  const [{ url, body, authorization } = { url: '', body: '', authorization: '' }] = requests;
  expect(url).toBe('http://confluent/v3/clusters/c/topics/cities/records');
  expect(authorization).toBe('Bearer t');
  expect(utf8(JSON.parse(body.split('\n')[0] ?? '').value.data)).toBe('{"city":"Zürich 🏙"}');
});

test('in workerd, the REST v2 publisher reads the result of each record', async () => {
  expect(await publish('rest', ['Zürich 🏙', 'Rome'])).toEqual([
    { ok: true },
    { ok: false, permanent: false, reason: 'cities: 500: it was not accepted' },
  ]);
});
