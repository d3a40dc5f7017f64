-- A move of a tenant copies collections in the order of their ids, and a parent can have a higher id than its child.
-- catalog.lock_collection_tree keeps parents in place: with it, no collection with children is deleted.
alter table catalog.collections drop constraint collections_parent_id_fkey;
