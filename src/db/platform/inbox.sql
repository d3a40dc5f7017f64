-- requires: platform/access.sql, platform/events.sql
-- The inbox: which events were applied.

-- As platform.take_new, for events without a time, whose age nobody can tell: their ids are never forgotten.
create or replace function platform.take_for_good(consumer text, event_ids text[]) returns text[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with taken as (
    insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select platform.tenant(), consumer, id, 'infinity' from unnest(event_ids) id order by id
    on conflict on constraint inbox_once do nothing
    returning event_id
  )
  select coalesce(array_agg(event_id), '{}') from taken
$$;

call platform.hand_over('platform', 'fusion_platform');

grant execute on function platform.take_for_good to fusion_inventory, fusion_shipping;
