import type { HttpContext } from './app-env.ts';

/** A file that is streamed while it is read, and that browsers save under its name. */
export const showDownload = (
  c: HttpContext,
  { body, type, fileName }: { body: ReadableStream<Uint8Array>; type: string; fileName: string },
): Response =>
  c.body(body, 200, {
    'Content-Type': type,
    'Content-Disposition': `attachment; filename="${fileName}"`,
    'Cache-Control': 'no-store',
  });
