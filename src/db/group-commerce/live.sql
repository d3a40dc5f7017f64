-- requires: platform/access.sql, platform/events.sql, platform/live-tokens.sql, group-commerce/places.sql

-- Makes a token with which a browser can watch one campaign of the key's tenant. It ends with the key at the latest.
-- The idempotency key stores only the token's end; a replay makes the same token again. `input`: {campaignId, seconds}.
-- Returns {token, expiresAt}. Raises unauthenticated, forbidden, not_found.
create or replace function group_commerce.make_live_token(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  replay jsonb := platform.enter(call, 'campaigns:read', 'campaigns.live-token');
  token jsonb;
begin
  if replay is not null then
    return replay || jsonb_build_object('answer',
      platform.live_token(call, input->>'campaignId', (replay->'answer'->>'expiresAt')::timestamptz));
  end if;
  if not exists (select from group_commerce.group_commerce_campaigns c
    where c.id = input->>'campaignId') then
    perform platform.fail('not_found');
  end if;
  token := platform.live_token(call, input->>'campaignId',
    platform.clock() + make_interval(secs => (input->>'seconds')::int));
  return platform.leave(call, 'campaigns.live-token', token - 'token') || jsonb_build_object('answer', token);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.make_live_token to fusion_worker;
