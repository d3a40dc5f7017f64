-- requires: platform/access.sql, platform/events.sql
-- The inbox for events without a time.

-- Like platform.claim_new_events, for events without a time. Their age is unknown, so their ids are never purged.
create or replace function platform.claim_undated_events(consumer text, event_ids text[]) returns text[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with claimed as (
    insert into platform.inbox (tenant_id, consumer, event_id, applied_at)
    select platform.tenant(), consumer, id, 'infinity' from unnest(event_ids) id order by id
    on conflict on constraint inbox_once do nothing
    returning event_id
  )
  select coalesce(array_agg(event_id), '{}') from claimed
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.claim_undated_events to fusion_inventory, fusion_shipping;
