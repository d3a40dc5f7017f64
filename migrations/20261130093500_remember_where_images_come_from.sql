-- The images that were fetched from a URL: {"<SHA-256 of the URL>": "<id of the image>"}. The URL itself may hold a
-- token.
alter table catalog.products add column image_sources jsonb not null default '{}';
