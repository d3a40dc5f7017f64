-- requires: platform/access.sql
-- Erasing and exporting what is stored about a customer.

-- Erases the e-mail, addresses and metadata of a user's places. Ids stay, also where the user invited others
-- (`invited_by`): without the customer they name nobody, and referrals still add up. Returns false, and erases nothing, while one of them is
-- not finished. Locks the places by id. For orders.
create or replace function group_commerce.erase_places(user_id varchar) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ids text[];
begin
  -- One look-up for each of the two indexes on the user.
  ids := array(select p.id from group_commerce.participants p where p.user_id = erase_places.user_id and p.state <> 'released'
    union all
    select p.id from group_commerce.participants p where p.user_id = erase_places.user_id and p.state = 'released');
  perform 1 from group_commerce.participants p where p.id = any(ids) order by p.id for update;
  if exists (select from group_commerce.participants p where p.id = any(ids) and p.state in ('joined', 'secured', 'ordered')) then
    return false;
  end if;
  update group_commerce.participants p
  set shipping_address = null, billing_address = null, email = null, metadata = null, updated_at = platform.clock()
  where p.id = any(ids);
  return true;
end
$$;

-- The places of a user, newest first, with their addresses. For orders.
create or replace function group_commerce.export_places(user_id varchar) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', p.id, 'campaignId', p.campaign_id, 'orderId', p.order_id,
    'teamId', p.team_id, 'sku', p.sku, 'quantity', p.quantity, 'invitedBy', p.invited_by, 'state', p.state, 'email', p.email, 'shippingAddress', p.shipping_address, 'billingAddress', p.billing_address,
    'metadata', p.metadata, 'joinedAt', platform.iso(p.joined_at)) order by p.id desc), '[]')
  from (
    select x.* from group_commerce.participants x where x.user_id = export_places.user_id and x.state <> 'released'
    union all
    select x.* from group_commerce.participants x where x.user_id = export_places.user_id and x.state = 'released'
  ) p
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.erase_places, group_commerce.export_places to fusion_orders;
