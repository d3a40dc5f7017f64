-- requires: platform/access.sql
-- Erasing and exporting what is stored about a customer.

-- Erases the e-mail, addresses and metadata of a user's places, and takes the user out of waiting lists. Ids stay, also
-- where the user invited others (`invited_by`): without the customer they identify nobody, and referrals stay
-- countable. Returns false, and erases nothing, while one of the places is not finished. Locks the campaigns of the
-- waiting lists by id, then the places by id. For orders.
create or replace function group_commerce.erase_places(user_id varchar) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ids text[];
  waiting_in text[]; -- campaigns
begin
  waiting_in := array(select w.campaign_id from group_commerce.waiting_places w
    where w.user_id = erase_places.user_id and w.state in ('waiting', 'offered') order by w.campaign_id);
  perform 1 from group_commerce.group_commerce_campaigns c where c.id = any(waiting_in) order by c.id for update;
  -- One look-up for each of the two indexes on the user.
  ids := array(
    select p.id from group_commerce.participants p where p.user_id = erase_places.user_id and p.state <> 'released'
    union all
    select p.id from group_commerce.participants p where p.user_id = erase_places.user_id and p.state = 'released');
  perform 1 from group_commerce.participants p where p.id = any(ids) order by p.id for update;
  if exists (select from group_commerce.participants p
    where p.id = any(ids) and p.state in ('joined', 'secured', 'ordered')) then
    return false;
  end if;
  update group_commerce.participants p
  set shipping_address = null, billing_address = null, email = null, metadata = null, updated_at = platform.clock()
  where p.id = any(ids);
  perform group_commerce.leave_waiting_list(c, erase_places.user_id, 'ended') from unnest(waiting_in) c;
  return true;
end
$$;

-- The places of a user, newest first, with their addresses. For orders.
create or replace function group_commerce.export_places(user_id varchar) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', p.id, 'campaignId', p.campaign_id, 'orderId', p.order_id,
    'teamId', p.team_id, 'sku', p.sku, 'quantity', p.quantity, 'invitedBy', p.invited_by, 'state', p.state,
    'email', p.email, 'shippingAddress', p.shipping_address, 'billingAddress', p.billing_address, 'metadata', p.metadata,
    'joinedAt', platform.iso(p.joined_at)) order by p.id desc), '[]')
  from (
    select x.* from group_commerce.participants x where x.user_id = export_places.user_id and x.state <> 'released'
    union all
    select x.* from group_commerce.participants x where x.user_id = export_places.user_id and x.state = 'released'
  ) p
$$;

-- The entries of a user in waiting lists, newest first. For orders.
create or replace function group_commerce.export_waiting(user_id varchar) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'campaignId', w.campaign_id, 'state', w.state,
    'offeredUntil', platform.iso(w.offered_until), 'createdAt', platform.iso(w.created_at)) order by w.id desc), '[]')
  from ( -- one look-up for each of the two indexes on the user
    select x.* from group_commerce.waiting_places x
    where x.user_id = export_waiting.user_id and x.state in ('waiting', 'offered')
    union all
    select x.* from group_commerce.waiting_places x
    where x.user_id = export_waiting.user_id and x.state in ('taken', 'lapsed', 'left', 'ended')
  ) w
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.erase_places, group_commerce.export_places, group_commerce.export_waiting
  to fusion_orders;
