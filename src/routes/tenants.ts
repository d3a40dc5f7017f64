import { Hono } from 'hono';
import { readTenant, tenantChange, tenant as tenantSchema, updateTenant } from '../domain/tenants.ts';
import type { AppEnv } from '../http/app-env.ts';
import { invalidateStorefront } from '../http/edge-cache.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { sampleTenant } from './examples.ts';

/** The settings of the key's own tenant: `/v1/tenant`. */
export const tenant = new Hono<AppEnv>();

tenant.get(
  '/',
  operation({
    id: 'getTenant',
    tag: 'Tenant',
    summary: 'Read the settings of your tenant',
    description: 'A setting that is null is the default of the Worker.',
    scope: 'tenant:read',
    responses: { 200: { description: 'The tenant', schema: tenantSchema, example: sampleTenant } },
    errors: [],
  }),
  async (c) => {
    const { tenant: found, version } = await readTenant(c.var.context);
    return showResource(c, found, { version });
  },
);

tenant.patch(
  '/',
  operation({
    id: 'updateTenant',
    tag: 'Tenant',
    summary: 'Change the settings of your tenant',
    description:
      'Only the given fields change. Null sets a setting back to the default of the Worker. New times hold for orders ' +
      'and places from then on, and a new carrier for labels that are not made yet. `id` and `stripeAccount` cannot be changed here. Links need https; `storefrontUrl` and ' +
      '`oidc.issuer` may also be on http://localhost, for development.',
    scope: 'tenant:write',
    ifMatch: true,
    body: tenantChange,
    example: { name: 'The tea shop', country: 'DE', currency: 'EUR', pricesIncludeTax: true, holdSeconds: 1_800 },
    responses: { 200: { description: 'The changed tenant', schema: tenantSchema, example: sampleTenant } },
    errors: ['version_mismatch', 'unavailable'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { tenant: changed, version } = await updateTenant(c.var.context, c.req.valid('json'), versions);
    await invalidateStorefront(c.var.context, changed.id);
    return showResource(c, changed, { version });
  },
);
