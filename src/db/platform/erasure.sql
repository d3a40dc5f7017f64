-- requires: platform/access.sql
-- Erasing a customer's personal data.

-- Erases the stored answers that name one of these ids (a customer, or its carts: the answers about its orders name one
-- of them). A repeated request gets 404 then, and does nothing. Reads all answers of the tenant's last 24 hours: an
-- index would cost every write. For orders.
create or replace function platform.erase_answers(ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update platform.idempotency i
  set answer = '{"error": "not_found", "detail": "The customer was erased."}'
  where i.tenant_id = platform.tenant() and i.answer is not null
    and exists (select from unnest(ids) e(id) where strpos(i.answer::text, e.id) > 0)
$$;

call platform.set_owner('platform', 'fusion_platform');

grant execute on function platform.erase_answers to fusion_orders;
