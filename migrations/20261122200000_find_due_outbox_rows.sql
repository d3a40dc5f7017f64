-- A relay finds what is due without reading past what is leased or waits after a failure.
create index idx_outbox_due on platform.outbox (sink, due_at, seq);
