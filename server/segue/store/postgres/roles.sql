-- The roles of every store of a server, none of which can log in. segue_owner owns the tables and the
-- functions; segue_user may call the functions, and every person's role is a member of it;
-- segue_reader owns the functions that read what was shared; segue_admin is for administrators who
-- are no superusers: it removes the rows of who has gone.
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['segue_owner', 'segue_user', 'segue_reader', 'segue_admin'] LOOP
        IF to_regrole(name) IS NULL THEN EXECUTE format('CREATE ROLE %I NOLOGIN', name); END IF;
    END LOOP;
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        GRANT segue_owner, segue_reader, segue_admin TO CURRENT_USER;
    END IF;
END $$;
