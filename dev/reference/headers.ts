/** What the reference may load: its own script, style and documents. Its renderer sets styles in elements of its own. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const nothing = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/**
 * The file `_headers` of the static assets: the headers that the Worker sends too (src/security-headers.ts). What is
 * named for its version is kept for a year; all else is asked for again by its ETag.
 */
export const headersFile = (script: string): string => `/*
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer
  Strict-Transport-Security: max-age=31536000
/docs
  Content-Security-Policy: ${policy}
  Cache-Control: no-cache
/docs/*
  Content-Security-Policy: ${nothing}
  Cache-Control: no-cache
/openapi.json
  Content-Security-Policy: ${nothing}
  Cache-Control: no-cache
  Access-Control-Allow-Origin: *
/docs/${script}
  ! Cache-Control
  Cache-Control: public, max-age=31536000, immutable
`;
