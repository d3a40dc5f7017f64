-- requires: platform.sql
-- Tokens for browsers' EventSource, which cannot send a key in a header.

-- Signs that a key allows its bearer to watch one campaign until a time (Unix seconds). No tenant has a colon in its name, so
-- this signature is never one of platform.sign.
create or replace function platform.sign_live_token(key_id text, campaign text, expires text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select encode(sha256(s.outer_key || sha256(s.inner_key || convert_to(
    concat_ws(' ', 'live-token:', key_id, campaign, expires), 'UTF8'))), 'hex')
  from platform.security s
$$;

-- A token that stands for this key where a campaign is watched. Not stored: the signature is what counts.
create or replace function platform.make_live_token(k platform.api_keys, campaign text, seconds integer) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  expires constant bigint := floor(extract(epoch from least(platform.clock() + make_interval(secs => seconds), k.expires_at)));
begin
  return jsonb_build_object('expiresAt', platform.iso(to_timestamp(expires)),
    'token', concat_ws('_', 'lt', k.id, expires, platform.sign_live_token(k.id, campaign, expires::text)));
end
$$;

-- The key that such a token stands for; null, if the token is not good for this campaign now.
create or replace function platform.key_of_live_token(token text, campaign text) returns platform.api_keys
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  part constant text[] := string_to_array(token, '_'); -- lt, key, expiry, signature
  k platform.api_keys;
begin
  if part[3] ~ '^[0-9]{10}$' and sha256(convert_to(part[4], 'UTF8'))
    = sha256(convert_to(platform.sign_live_token(part[2], campaign, part[3]), 'UTF8')) then
    perform set_config('app.live_key', part[2], true); -- the policy key_of_live_token
    select * into k from platform.api_keys where id = part[2] and to_timestamp(part[3]::bigint) > platform.clock();
  end if;
  return k;
end
$$;

call platform.hand_over('platform', 'fusion_platform');

grant execute on function platform.make_live_token to fusion_group_commerce;
