-- The key of a live token is found by its id, which platform.key_of_live_token sets once the token's signature is right.
create policy key_of_live_token on platform.api_keys for select to fusion_platform
  using (id = current_setting('app.live_key', true));
