-- Locked in the order of a join, so that no join waits for this while this waits for it.
lock table group_commerce.teams in access exclusive mode;
-- A place is stored by the statement that has just taken it in the team's row, and teams are never deleted. So the
-- foreign key could never fail. (Campaigns have none for the same reason.)
alter table group_commerce.participants drop constraint participants_team_id_fkey;
-- No query can use it, because queries get the states as parameters.
drop index group_commerce.idx_participants_unsettled;
