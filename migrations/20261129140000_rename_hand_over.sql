-- The files of SQL functions call it by its new name. A release before this one never installs them again.
alter procedure platform.hand_over rename to set_owner;
