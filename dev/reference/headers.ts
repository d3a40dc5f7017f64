/** The page may load only our own scripts, styles and documents. Its renderer adds inline styles. */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const denyAllPolicy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/**
 * The file `_headers` of the static assets, with the same headers that the Worker sends (src/http/security-headers.ts).
 * Browsers cache the script, whose name has its version, for a year, and revalidate all other files by ETag.
 */
export const headersFile = (script: string): string => `/*
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer
  Strict-Transport-Security: max-age=31536000
/docs
  Content-Security-Policy: ${pagePolicy}
  Cache-Control: no-cache
/docs/*
  Content-Security-Policy: ${denyAllPolicy}
  Cache-Control: no-cache
/openapi.json
  Content-Security-Policy: ${denyAllPolicy}
  Cache-Control: no-cache
  Access-Control-Allow-Origin: *
/docs/${script}
  ! Cache-Control
  Cache-Control: public, max-age=31536000, immutable
`;
