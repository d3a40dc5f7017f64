-- Jobs list the tenants that have work (platform.tenants_in), not all of them.
drop function if exists platform.tenant_ids();
