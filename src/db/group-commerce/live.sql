-- requires: platform/access.sql, platform/events.sql, platform/live-tokens.sql, group-commerce/places.sql

-- Makes a token with which a browser can watch one campaign or team of the key's tenant. It ends with the key at the
-- latest. The idempotency key stores only the token's end; a replay makes the same token again. `input`: {campaignId,
-- seconds} or {teamId, seconds}. Returns {token, expiresAt}. Raises unauthenticated, forbidden, not_found.
create or replace function group_commerce.make_live_token(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  operation constant text := case when input ? 'teamId' then 'teams.live-token' else 'campaigns.live-token' end;
  watched constant text := coalesce(input->>'teamId', input->>'campaignId');
  replay jsonb := platform.enter(call, 'campaigns:read', operation);
  token jsonb;
begin
  if replay is not null then
    return replay || jsonb_build_object('answer',
      platform.live_token(call, watched, (replay->'answer'->>'expiresAt')::timestamptz));
  end if;
  if not (case when input ? 'teamId' then exists (select from group_commerce.teams t where t.id = watched)
    else exists (select from group_commerce.group_commerce_campaigns c where c.id = watched) end) then
    perform platform.fail('not_found');
  end if;
  token := platform.live_token(call, watched, platform.clock() + make_interval(secs => (input->>'seconds')::int));
  return platform.leave(call, operation, token - 'token') || jsonb_build_object('answer', token);
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');

grant execute on function group_commerce.make_live_token to fusion_worker;
