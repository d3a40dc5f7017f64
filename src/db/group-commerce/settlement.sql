-- requires: group-commerce/campaigns.sql, platform/set-aside.sql
-- How campaigns end, and what becomes of their places then. Batches are resumable: what is left to do stands in the
-- participants' state, so whoever comes next goes on.

-- `input`: {id}. active → failed; its places are released by the consumer of campaign.failed. Cancelled already: the same
-- answer. Raises not_found. Refuses: conflict, once it has succeeded or expired.
create or replace function group_commerce.cancel_campaign(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:write', 'campaigns.cancel');
  c group_commerce.group_commerce_campaigns;
begin
  if replay is not null then
    return replay;
  end if;
  c := group_commerce.lock_campaign(input->>'id');
  if c.status in ('successful', 'expired') then
    return platform.leave(call, 'campaigns.cancel',
      jsonb_build_object('error', 'conflict', 'detail', format('The campaign is %s.', c.status)));
  end if;
  if c.status = 'active' then
    update group_commerce.group_commerce_campaigns x
    set status = 'failed', version = platform.next_version(x.version), updated_at = platform.clock()
    where x.id = c.id returning * into c;
    perform group_commerce.emit_campaign(c, 'failed', true);
  end if;
  return platform.leave(call, 'campaigns.cancel', group_commerce.campaign_json(c));
end
$$;

-- One batch of a campaign that has succeeded: an order for each of `limit` participants. Those whose money is secured are
-- charged through the queue; the others have `graceSeconds` to secure it. `input`: {tenant?, campaignId?, limit,
-- graceSeconds}. Answers {done, more}; repeat while `more`. Emits order.created, inventory.reserved,
-- payment.capture.requested.
create or replace function group_commerce.settle_batch(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  c group_commerce.group_commerce_campaigns;
begin
  c := group_commerce.next_unsettled(call, input, array['successful']);
  return group_commerce.do_batch(c, array['joined', 'secured'], 'group_commerce.settle_places', input);
end
$$;

-- Processes `limit` places of a campaign in these states by `step`. A place that cannot be processed is set aside; when no
-- other is left, so is its campaign, until the place is tried again. Answers {done, more, tenant, sku}.
create or replace function group_commerce.do_batch(
  c group_commerce.group_commerce_campaigns, states text[], step text, input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ids text[];
  part jsonb;
  done integer := 0;
begin
  if c.id is null then
    return jsonb_build_object('done', 0, 'more', false);
  end if;
  ids := array(
    select x.id from group_commerce.participants x
    where x.tenant_id = c.tenant_id and x.campaign_id = c.id and x.state = any(states)
      and x.id <> all(platform.aside('campaigns'))
    order by x.id limit (input->>'limit')::int);
  for part in select jsonb_array_elements(
    platform.apart('campaigns', step, c.tenant_id, ids, input || jsonb_build_object('campaign', c.id)))
  loop
    done := done + (part->>'done')::int;
  end loop;
  if cardinality(ids) = 0 then
    perform group_commerce.note_settled(c, states);
    if exists (select from group_commerce.participants x
      where x.tenant_id = c.tenant_id and x.campaign_id = c.id and x.state = any(states)) then
      perform platform.set_aside('campaigns', array[c.id::text], 'places of this campaign are set aside');
    else
      perform platform.take_back('campaigns', array[c.id::text]);
    end if;
  end if;
  return jsonb_build_object('done', done, 'more', true, 'tenant', c.tenant_id, 'sku', c.sku);
end
$$;

-- The orders of these places of a campaign that has succeeded.
create or replace function group_commerce.settle_places(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c group_commerce.group_commerce_campaigns;
  p group_commerce.participants;
  ready text[] := '{}';
  waiting text[] := '{}';
  deciding text[] := '{}';
  graced constant timestamptz := platform.clock() + make_interval(secs => (input->>'graceSeconds')::int);
begin
  select * into c from group_commerce.group_commerce_campaigns x
    where x.tenant_id = platform.tenant() and x.id = input->>'campaign';
  -- Without the campaign's lock, which joins and payments wait for: nothing here changes its row or takes it later.
  for p in
    select * from group_commerce.participants x
    where x.tenant_id = c.tenant_id and x.id = any(ids) and x.state in ('joined', 'secured')
    order by x.id for update
  loop
    update group_commerce.participants x
    set state = 'ordered', secure_by = case when x.secured_at is null then greatest(graced, x.secure_by) end,
        updated_at = platform.clock()
    where x.id = p.id;
    perform group_commerce.order_place(c, p);
    if p.secured_at is not null then
      ready := ready || p.order_id::text;
    elsif p.secure_by = 'infinity' then
      deciding := deciding || p.order_id::text; -- Stripe is deciding the payment: the unit stays held until then
    else
      waiting := waiting || p.order_id::text;
    end if;
  end loop;
  perform payments.ask_captures(ready);
  perform inventory.keep_until(waiting, graced);
  perform inventory.announce(ready || waiting || deciding);
  perform group_commerce.settle_early(payments.paid_among(ready));
  if c.price = 0 then
    perform group_commerce.settle_free(c, x) from group_commerce.participants x
      where x.tenant_id = c.tenant_id and x.order_id = any(ready) order by x.id;
  end if;
  return jsonb_build_object('done', cardinality(ready || waiting || deciding));
end
$$;

-- Confirms the orders of places whose hold somebody captured in Stripe's dashboard before the campaign had succeeded.
create or replace function group_commerce.settle_early(order_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  paid text;
begin
  perform inventory.lock_holds(order_ids); -- all of them, before the first one's stock
  foreach paid in array order_ids loop
    perform orders.settle_paid(paid);
    update group_commerce.participants x set state = 'charged', updated_at = platform.clock()
    where x.tenant_id = platform.tenant() and x.order_id = paid;
  end loop;
end
$$;

-- Finds a campaign of these statuses with work left, and goes on as its tenant: any tenant's, so that none waits for all
-- campaigns of another.
create or replace function group_commerce.next_unsettled(call jsonb, input jsonb, statuses text[])
returns group_commerce.group_commerce_campaigns
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c group_commerce.group_commerce_campaigns;
begin
  perform platform.enter_as(call, coalesce(input->>'tenant', '*'));
  select * into c from group_commerce.group_commerce_campaigns x
    where x.settled_at is null and x.status <> 'active' and x.status = any(statuses)
      and (input->>'campaignId' is null or x.id = input->>'campaignId')
      and x.id <> all(platform.aside('campaigns'))
    order by row_number() over (partition by x.tenant_id order by x.id), random() limit 1;
  perform platform.act_as(c.tenant_id) where c.id is not null;
  return c;
end
$$;

-- Nothing is left to do, unless another run has rows locked that are still to be seen.
create or replace function group_commerce.note_settled(c group_commerce.group_commerce_campaigns, states text[])
returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update group_commerce.group_commerce_campaigns x
  set settled_at = platform.clock(), version = platform.next_version(x.version), updated_at = platform.clock()
  where x.tenant_id = c.tenant_id and x.id = c.id and x.settled_at is null and not exists (
    select from group_commerce.participants p
    where p.tenant_id = c.tenant_id and p.campaign_id = c.id and p.state = any(states))
$$;

-- One batch of a campaign that has expired or was cancelled: the money and the units of `limit` participants are released.
-- Its counts stay as they were at its end. `input`: {tenant?, campaignId?, limit}. Answers {done, more, tenant, sku}.
-- Emits payment.cancelled, inventory.released.
create or replace function group_commerce.release_batch(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  c group_commerce.group_commerce_campaigns;
begin
  c := group_commerce.next_unsettled(call, input, array['expired', 'failed']);
  return group_commerce.do_batch(c, array['joined', 'secured', 'ordered', 'charged'], 'group_commerce.release_places', input);
end
$$;

-- Releases these places of a campaign that has ended.
create or replace function group_commerce.release_places(ids text[], input jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  ending constant text := 'campaign_' || (select x.status from group_commerce.group_commerce_campaigns x
    where x.tenant_id = platform.tenant() and x.id = input->>'campaign');
  orders text[];
begin
  orders := array(
    select x.order_id from group_commerce.participants x
    where x.tenant_id = platform.tenant() and x.id = any(ids) and x.state <> 'released' order by x.id for update);
  update group_commerce.participants x set state = 'released', reason = ending, updated_at = platform.clock()
  where x.tenant_id = platform.tenant() and x.order_id = any(orders);
  orders := array(select o from unnest(orders) o order by o);
  perform payments.end_for_orders(orders, 'cancelled', ending);
  perform inventory.release(orders, ending);
  return jsonb_build_object('done', cardinality(orders));
end
$$;

call platform.hand_over('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.cancel_campaign, group_commerce.settle_batch, group_commerce.release_batch
  to fusion_worker;
