import { createMiddleware } from 'hono/factory';
import { secureHeaders } from 'hono/secure-headers';
import type { AppEnv } from './app-env.ts';

/** Headers that Hono's middleware can set and that an API does not need. */
const unused = {
  crossOriginResourcePolicy: false,
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
} as const;

const withTransportSecurity = (strictTransportSecurity: string | false) =>
  secureHeaders({
    ...unused,
    strictTransportSecurity,
    referrerPolicy: 'no-referrer',
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      frameAncestors: ["'none'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
    },
  });

// HSTS is sent only over TLS (RFC 6797, 7.2), without includeSubDomains: it must not affect the operator's other hosts.
const overTls = withTransportSecurity('max-age=31536000');
const plain = withTransportSecurity(false);

const policyHeader = 'Content-Security-Policy';

/**
 * Makes browsers treat a response as data only: Hono's secure headers, set for an API. A content policy that the
 * operation has set stays.
 */
export const securityHeaders = createMiddleware<AppEnv>(async (c, next) => {
  let own: string | null = null;
  await (c.req.url.startsWith('https:') ? overTls : plain)(c, async () => {
    await next();
    own = c.res.headers.get(policyHeader);
  });
  if (own !== null) c.res.headers.set(policyHeader, own);
});
