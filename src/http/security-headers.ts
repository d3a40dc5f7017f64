import { createMiddleware } from 'hono/factory';
import { secureHeaders } from 'hono/secure-headers';
import type { AppEnv } from './app-env.ts';

/** Everything that Hono's middleware can set and an API has no use for. */
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

// HSTS goes over TLS alone (RFC 6797, 7.2) and says nothing about the operator's other hosts.
const overTls = withTransportSecurity('max-age=31536000');
const plain = withTransportSecurity(false);

/** Tells a browser to treat a response as data and nothing else: Hono's secure headers, set for an API. */
export const securityHeaders = createMiddleware<AppEnv>((c, next) =>
  (c.req.url.startsWith('https:') ? overTls : plain)(c, next),
);
