-- Lists of the teams of a campaign, newest first, by status and by whether the list shows them to everybody.
create index idx_teams_status on group_commerce.teams (campaign_id, status, listed, id desc);

-- fusion_reader proves a tenant and a scope, which a publishable key has too. So it must not read who leads a team, nor
-- the code that lets anybody join it. group_commerce.show_team shows them to those who may see them.
revoke select on group_commerce.teams from fusion_reader;
grant select (id, tenant_id, campaign_id, size, joined, secured, status, listed, merge_refusals, end_time, merged_into,
  settled_at, version, created_at, updated_at) on group_commerce.teams to fusion_reader;

-- A foreign key locks the row of the campaign for each new team and place. So everybody who joins a hot campaign would
-- write to that one row, although only the teams differ. Campaigns are never deleted, and every function reads the
-- campaign before it stores a row of it.
alter table group_commerce.teams drop constraint teams_campaign_id_fkey;
alter table group_commerce.campaign_customers drop constraint campaign_customers_campaign_id_fkey;
alter table group_commerce.participants drop constraint participants_campaign_id_fkey;
