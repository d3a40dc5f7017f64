-- requires: platform.sql, events.sql, live-tokens.sql, group-commerce.sql

-- A token that lets its bearer watch one campaign of the key's tenant for a while. It ends with the key. Changes nothing.
-- `input`: {campaignId, seconds}. Answers {token, expiresAt}. Raises unauthenticated, forbidden, not_found.
create or replace function group_commerce.make_live_token(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  k constant platform.api_keys := platform.identify(call, 'campaigns:read');
begin
  if not exists (select from group_commerce.group_commerce_campaigns c
    where c.tenant_id = platform.tenant() and c.id = input->>'campaignId') then
    perform platform.fail('not_found');
  end if;
  return jsonb_build_object('tenant', platform.tenant(), 'replayed', false, 'answer',
    platform.make_live_token(k, input->>'campaignId', (input->>'seconds')::int));
end
$$;

call platform.hand_over('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.make_live_token to fusion_worker;
