-- Places and campaigns of the releases before campaigns had variants and quantities. A place now always names its SKU. The
-- units of secured places count one for each: `form_teams` counted them only for an owner who bypasses row-level security.
-- Lock order: campaigns by id, then places by id.
do $$
declare
  tenant record;
begin
  for tenant in select id from platform.tenants order by id loop
    perform set_config('app.tenant_id', tenant.id, true);
    perform 1 from group_commerce.group_commerce_campaigns c
      where c.tenant_id = tenant.id and c.mode = 'pool' and c.secured_units < c.secured_participants
      order by c.id for update;
    update group_commerce.group_commerce_campaigns c set secured_units = c.secured_participants
      where c.tenant_id = tenant.id and c.mode = 'pool' and c.secured_units < c.secured_participants;
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
