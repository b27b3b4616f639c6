-- What an account lets others read. What is another's is read by functions of segue_reader only, each of
-- which begins with what the caller was granted; all others are bound to the caller's own rows.
SET ROLE segue_owner;
SET search_path = pg_catalog;

GRANT USAGE, CREATE ON SCHEMA segue TO segue_reader;
GRANT SELECT ON segue.sessions, segue.events, segue.invocations, segue.spans, segue.grants
    TO segue_reader;
GRANT EXECUTE ON FUNCTION segue.me(), segue.strands(bigint, bigint, integer, integer)
    TO segue_reader;
RESET ROLE;
SET ROLE segue_reader;

-- The sessions that the caller was granted, or the one with an id. A role that was dropped, renamed
-- or restored elsewhere has none: it must have the name and the number of the one that was granted.
CREATE FUNCTION segue.shared(a_owner bigint, a_id bytea)
RETURNS TABLE (granter name, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT DISTINCT ON (s.owner, s.number) g.granter, s
    FROM pg_roles r
    JOIN segue.grants g ON g.grantee = r.oid AND g.grantee_name = r.rolname
    JOIN segue.sessions s ON s.owner = g.owner
        AND (s.number = g.session OR g.session = 0 AND s.repository = g.repository)
    WHERE pg_has_role(session_user, r.oid, 'USAGE') AND g.owner <> segue.me() AND NOT s.is_stub
        AND (a_owner IS NULL OR g.owner = a_owner) AND (a_id IS NULL OR s.id = a_id);
END $$;

CREATE FUNCTION segue.shared_events(a_owner bigint, a_id bytea)
RETURNS TABLE (
    created_at bigint, seq integer, id bytea, invocation bytea, type text, data text
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s segue.sessions;
BEGIN
    SELECT (g.session).* INTO s FROM segue.shared(a_owner, a_id) g;
    RETURN QUERY SELECT e.created_at, e.seq, e.id, e.invocation, e.type, e.data
    FROM segue.strands(a_owner, s.number, s.fork_seq, s.event_count) p
    JOIN segue.events e ON e.owner = a_owner AND e.session = p.strand
        AND e.seq > p.after AND e.seq <= p.last;
END $$;

CREATE FUNCTION segue.shared_invocations(a_owner bigint, a_id bytea)
RETURNS TABLE (id bytea, client_name text, client_version text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s segue.sessions;
BEGIN
    SELECT (g.session).* INTO s FROM segue.shared(a_owner, a_id) g;
    RETURN QUERY SELECT DISTINCT ON (i.id) i.id, i.client_name, i.client_version
    FROM segue.strands(a_owner, s.number, s.fork_seq, s.event_count) p
    JOIN segue.invocations i ON i.owner = a_owner AND i.session = p.strand;
END $$;

REVOKE ALL ON FUNCTION segue.shared(bigint, bytea), segue.shared_events(bigint, bytea),
    segue.shared_invocations(bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION segue.shared(bigint, bytea), segue.shared_events(bigint, bytea),
    segue.shared_invocations(bigint, bytea) TO segue_owner;
RESET ROLE;
SET ROLE segue_owner;
REVOKE CREATE ON SCHEMA segue FROM segue_reader;

-- Grant or revoke; return done, absent if there is no such session, no role, or none to revoke.
CREATE FUNCTION segue_1.share(
    a_owner bigint, a_session bytea, a_repository text, a_grantee text, a_revoked boolean
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_session bigint := 0;
    role oid;
BEGIN
    PERFORM segue.begin_write(a_owner);
    IF a_session IS NOT NULL THEN
        SELECT s.number INTO of_session FROM segue.sessions s
            WHERE s.owner = a_owner AND s.id = a_session AND NOT s.is_stub;
        IF NOT FOUND THEN RETURN 'absent'; END IF;
    END IF;
    IF a_revoked THEN
        DELETE FROM segue.grants g WHERE g.owner = a_owner AND g.session = of_session
            AND g.repository = coalesce(a_repository, '') AND g.grantee_name = a_grantee;
        RETURN CASE WHEN FOUND THEN 'done' ELSE 'none' END;
    END IF;
    SELECT r.oid INTO role FROM pg_roles r WHERE r.rolname = a_grantee;
    IF NOT FOUND THEN RETURN 'no role'; END IF;
    INSERT INTO segue.grants AS g (owner, session, repository, granter, grantee, grantee_name)
    VALUES (a_owner, of_session, coalesce(a_repository, ''), session_user, role, a_grantee)
    ON CONFLICT (owner, session, repository, grantee_name)
        DO UPDATE SET grantee = excluded.grantee, granter = excluded.granter;
    RETURN 'done';
END $$;

-- What the caller has granted: to whom, and either a session or a repository.
CREATE FUNCTION segue_1.grants(a_owner bigint)
RETURNS TABLE (grantee text, id bytea, title text, repository text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT g.grantee_name::text, s.id, coalesce(s.given_title, s.title), g.repository
    FROM segue.grants g
    JOIN pg_roles r ON r.oid = g.grantee AND r.rolname = g.grantee_name
    LEFT JOIN segue.sessions s ON s.owner = g.owner AND s.number = g.session AND NOT s.is_stub
    WHERE g.owner = a_owner AND (g.session = 0 OR s.number IS NOT NULL)
    ORDER BY 1, 4, 2;
END $$;

-- What others have granted to the caller, newest first.
CREATE FUNCTION segue_1.shared(a_owner bigint, a_limit integer)
RETURNS TABLE (granter text, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT g.granter::text, g.session FROM segue.shared(NULL, NULL) g
    ORDER BY (g.session).updated_at DESC, (g.session).number DESC LIMIT a_limit;
END $$;

-- Copy a session that was granted into the caller's account; return its row, or none.
CREATE FUNCTION segue_1.take(a_owner bigint, a_of bigint, a_session bytea, a_new bytea)
RETURNS SETOF segue.sessions
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT bigint := segue.clock();
    origin record; s segue.sessions;
    copied integer;
BEGIN
    PERFORM segue.begin_write(a_owner);
    SELECT g.granter, g.session INTO origin FROM segue.shared(a_of, a_session) g;
    IF NOT FOUND THEN RETURN; END IF;
    s := origin.session;
    IF NOT EXISTS (
        SELECT 1 FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_new
    ) THEN
        s.owner := a_owner;
        s.number := nextval(pg_get_serial_sequence('segue.sessions', 'number'));
        s.id := a_new;
        s.given_title := left(coalesce(s.given_title, s.title, ''), 130) || ' (' || origin.granter || ')';
        s.updated_at := at;
        s.recent := segue.minutes(at);
        s.archived_at := NULL;
        s.fork_seq := 0;
        s.forked_at := NULL;
        s.revisions := NULL;
        s.forked_from := NULL;
        s.server_session_id := NULL;
        s.source := NULL;
        INSERT INTO segue.sessions SELECT (s).*;
        WITH written AS (
            INSERT INTO segue.events (created_at, session, owner, seq, id, invocation, type, data)
            SELECT e.created_at, s.number, a_owner, e.seq, e.id, e.invocation, e.type, e.data
            FROM segue.shared_events(a_of, a_session) e WHERE e.seq <= s.event_count
            RETURNING 1
        ) SELECT count(*) INTO copied FROM written;
        IF copied <> s.event_count THEN
            RAISE serialization_failure USING MESSAGE = 'it was deleted meanwhile';
        END IF;
        INSERT INTO segue.invocations (owner, session, id, client_name, client_version)
        SELECT a_owner, s.number, i.id, i.client_name, i.client_version
        FROM segue.shared_invocations(a_of, a_session) i;
    END IF;
    RETURN QUERY SELECT u.* FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_new;
END $$;

REVOKE ALL ON FUNCTION segue_1.share(bigint, bytea, text, text, boolean), segue_1.grants(bigint),
    segue_1.shared(bigint, integer), segue_1.take(bigint, bigint, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION segue_1.share(bigint, bytea, text, text, boolean), segue_1.grants(bigint),
    segue_1.shared(bigint, integer), segue_1.take(bigint, bigint, bytea, bytea) TO segue_user;
RESET ROLE;
RESET search_path;
