-- requires: platform/access.sql
-- Tokens for EventSource in browsers, which cannot send a key in a header.

-- Signs that the bearer of a key may watch one campaign until a time (Unix seconds). Here and below, `campaign` is the
-- id of a campaign or of a team; ids are unique over both. No tenant has a colon in its name, so this signature can
-- never equal one of platform.sign.
create or replace function platform.sign_live_token(key_id text, campaign text, expires text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select encode(sha256(s.outer_key || sha256(s.inner_key || convert_to(
    concat_ws(' ', 'live-token:', key_id, campaign, expires), 'UTF8'))), 'hex')
  from platform.security s
$$;

-- A token that replaces the caller's key for watching one campaign or team, until this time or the key's end. It is not
-- stored: making it again gives the same token. Returns {token, expiresAt}. Raises unauthenticated, forbidden.
create or replace function platform.live_token(call jsonb, campaign text, until timestamptz) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  api_key constant platform.api_keys := platform.identify(call, 'campaigns:read');
  expires constant bigint := floor(extract(epoch from least(until, api_key.expires_at)));
begin
  return jsonb_build_object('expiresAt', platform.iso(to_timestamp(expires)),
    'token', concat_ws('_', 'lt', api_key.id, expires, platform.sign_live_token(api_key.id, campaign, expires::text)));
end
$$;

-- The key behind such a token; null if the token is not valid for this campaign or team now.
create or replace function platform.key_of_live_token(token text, campaign text) returns platform.api_keys
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  parts constant text[] := string_to_array(token, '_'); -- lt, key, expiry, signature
  api_key platform.api_keys;
begin
  if parts[3] ~ '^[0-9]{10}$' and sha256(convert_to(parts[4], 'UTF8'))
    = sha256(convert_to(platform.sign_live_token(parts[2], campaign, parts[3]), 'UTF8')) then
    perform set_config('app.live_key', parts[2], true); -- read by the policy key_of_live_token
    select * into api_key from platform.api_keys where id = parts[2]
      and to_timestamp(parts[3]::bigint) > platform.clock();
  end if;
  return api_key;
end
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.live_token to fusion_group_commerce;
