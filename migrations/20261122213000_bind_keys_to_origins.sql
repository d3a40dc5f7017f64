-- Pages that may use a publishable key; null: all.
alter table platform.api_keys
  add column origins text[],
  add constraint api_keys_origins_of_publishable check (origins is null or kind = 'publishable');
