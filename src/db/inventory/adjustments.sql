-- requires: platform/access.sql, platform/events.sql, inventory/stock.sql
-- Stock changes from outside this system: a warehouse reports them through Kafka.

-- Applies stock adjustments of one tenant, each once per event id and each completely or not at all. `input`: {tenant,
-- messages: [{eventId, sku, delta, reason, undated?}]}. Returns {skus: [changed], refused: [{eventId, reason}]} with
-- the reasons unknown_sku, insufficient_inventory, too_many. A refused message is not in the inbox, so it can be sent
-- again.
create or replace function inventory.apply_adjustments(call jsonb, input jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  message jsonb;
  change integer;
  new_quantity integer;
  refusal text;
  skus text[] := '{}';
  refused jsonb := '[]';
begin
  perform platform.enter_as(call, input->>'tenant');
  -- Lock order: all stock by SKU, before the first inbox row. Otherwise two batches that share a message would wait for
  -- each other.
  perform 1 from inventory.inventory s
    where s.tenant_id = platform.tenant()
      and s.sku = any(array(select x->>'sku' from jsonb_array_elements(input->'messages') x))
    order by s.sku for update;
  -- Additions before removals: the messages of a batch have no order.
  for message in
    select x from jsonb_array_elements(input->'messages') x
    order by x->>'sku', (x->>'delta')::numeric desc, x->>'eventId'
  loop
    change := (message->>'delta')::int;
    begin
      continue when cardinality(case when (message->>'undated')::boolean
        then platform.claim_undated_events('inventory', array[message->>'eventId'])
        else platform.claim_new_events('inventory', array[message->>'eventId']) end) = 0;
      update inventory.inventory s
      set quantity = s.quantity + change, version = platform.next_version(s.version), updated_at = platform.clock()
      where s.tenant_id = platform.tenant() and s.sku = message->>'sku'
        and s.quantity::bigint + change >= 0 and inventory.is_count_allowed(s.quantity::bigint + change, s.quantity,
          s.reserved)
      returning s.quantity into new_quantity;
      if not found then
        perform platform.fail(case
          when not exists (select from inventory.inventory s
            where s.tenant_id = platform.tenant() and s.sku = message->>'sku') then 'unknown_sku'
          when change < 0 then 'insufficient_inventory' else 'too_many' end);
      end if;
      insert into inventory.adjustments (tenant_id, sku, delta, quantity, reason, created_at)
      values (platform.tenant(), message->>'sku', change, new_quantity, message->>'reason', platform.clock());
      skus := skus || (message->>'sku');
    exception when sqlstate 'FC000' then -- undoes its inbox row too
      get stacked diagnostics refusal = message_text;
      refused := refused || jsonb_build_object('eventId', message->>'eventId', 'reason', refusal);
    end;
  end loop;
  return jsonb_build_object('skus', to_jsonb(skus), 'refused', refused);
end
$$;

call platform.set_owner('inventory', 'fusion_inventory');

grant execute on function inventory.apply_adjustments to fusion_worker;
