import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import plugin from '@scalar/fastify-api-reference';

/** The script that renders the reference. It needs no other files. */
export type Renderer = { version: string; script: string };

type Route = { url: string; handler: (request: unknown, reply: Reply) => unknown };
type Reply = { header: (name: string, value: string) => Reply; send: (body: string) => string };
/** The part of Fastify that the plugin calls. */
type Fastify = { route: (route: Route) => void; hasPlugin: () => boolean };
type Plugin = (fastify: Fastify, options: object, next: () => void) => void;

/**
 * Reads Scalar's script from its Fastify plugin, which serves it at `js/scalar.js`. The plugin and its dependencies
 * take 24 MB of node_modules. @scalar/api-reference, which has the same script, takes 243 MB.
 */
export async function readRenderer(): Promise<Renderer> {
  const routes: Route[] = [];
  const fastify: Fastify = { route: (route) => routes.push(route), hasPlugin: () => false };
  (plugin as unknown as Plugin)(fastify, { configuration: { url: '/openapi.json' } }, () => undefined);
  const reply: Reply = { header: () => reply, send: (body) => body };
  const script = routes.find(({ url }) => url.endsWith('/js/scalar.js'))?.handler({}, reply);
  if (typeof script !== 'string') {
    throw new Error(
      '@scalar/fastify-api-reference serves no js/scalar.js: find where this version has the script and change readRenderer.',
    );
  }
  const manifest = join(
    dirname(fileURLToPath(import.meta.resolve('@scalar/fastify-api-reference'))),
    '..',
    'package.json',
  );
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string };
  return { version, script };
}
