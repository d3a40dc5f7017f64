-- Places and campaigns of the releases before campaigns had variants and quantities. Such a place now names its SKU. The
-- units of secured places are counted: `form_teams` did so only for an owner who bypasses row-level security.
-- Lock order: campaigns by id, then places by id.
do $$
declare
  tenant record;
begin
  for tenant in select id from platform.tenants order by id loop
    perform set_config('app.tenant_id', tenant.id, true);
    perform 1 from group_commerce.group_commerce_campaigns c
      where c.tenant_id = tenant.id and c.mode = 'pool' and c.secured_participants > 0
      order by c.id for update;
    update group_commerce.group_commerce_campaigns c set secured_units = s.units
      from (
        select p.campaign_id, sum(p.quantity) as units from group_commerce.participants p
        where p.tenant_id = tenant.id and p.secured_at is not null and p.state <> 'released' group by p.campaign_id
      ) s
      where c.id = s.campaign_id and c.mode = 'pool' and c.secured_units < s.units;
    perform 1 from group_commerce.participants p
      where p.tenant_id = tenant.id and p.sku is null
      order by p.id for update;
    update group_commerce.participants p set sku = c.sku
      from group_commerce.group_commerce_campaigns c
      where p.tenant_id = tenant.id and p.sku is null and c.id = p.campaign_id;
  end loop;
  perform set_config('app.tenant_id', '', true);
end
$$;
