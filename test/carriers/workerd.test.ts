import { build } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare, Response } from 'miniflare';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { selectCarrier } from '../../src/carriers/select.ts';
import request from '../fixtures/carriers/request.json' with { type: 'json' };

// It is bundled for the platform `neutral`, without Node built-ins: the build fails if a carrier imports one.
const worker = `
  import { selectCarrier } from './src/carriers/select.ts';
  export default {
    async fetch(incoming) {
      const { name, request } = await incoming.json();
      const settings = { EASYPOST_API_KEY: 'k', EASYPOST_WEBHOOK_SECRET: 's', SHIPPING_WEBHOOK_SECRET: 's' };
      try {
        const { pdf, trackingNumber } = await selectCarrier(name, settings).createLabel(request);
        return new Response(pdf, { headers: { 'Tracking-Number': trackingNumber } });
      } catch (error) {
        return new Response(String(error), { status: 500 });
      }
    },
  };
`;

let runtime: Miniflare;
const createLabel = (name: string, body: unknown) =>
  runtime.dispatchFetch('http://worker/', { method: 'POST', body: JSON.stringify({ name, request: body }) });

beforeAll(async () => {
  const stdin = { contents: worker, resolveDir: `${import.meta.dirname}/../..` };
  const { outputFiles } = await build({
    stdin,
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    write: false,
  });
  runtime = new Miniflare(
    convertV4MiniflareOptions({
      modules: true,
      script: outputFiles[0]?.text ?? '',
      compatibilityDate: '2026-11-02',
      outboundService: () => new Response('{}', { status: 503 }),
    }),
  );
});

afterAll(() => runtime.dispose());

it('a label has the same bytes when workerd draws it', async () => {
  const addressInOtherScripts = {
    name: 'Παύλος Щербак 김민준',
    line1: '神南１−２−３',
    city: 'Zürich',
    postalCode: '8001',
    country: 'CH',
  };
  for (const each of [request, { ...request, to: addressInOtherScripts }]) {
    const response = await createLabel('manual', each);
    const label = await selectCarrier('manual', {}).createLabel(each);
    expect(response.headers.get('Tracking-Number')).toBe(label.trackingNumber);
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(label.pdf);
  }
});

it('workerd can call the API of a carrier', async () => {
  expect(await (await createLabel('easypost', request)).text()).toBe('CarrierError: easypost: responded with 503');
});
