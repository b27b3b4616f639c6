-- What an account lets others read. What is another's is read by functions of segue_reader only, each of
-- which begins with what the caller was granted; all others are bound to the caller's own rows.
SET ROLE segue_owner;
SET search_path = pg_catalog;

GRANT USAGE, CREATE ON SCHEMA segue TO segue_reader;
GRANT USAGE ON SCHEMA segue_1 TO segue_reader;
GRANT SELECT ON segue.sessions, segue.events, segue.invocations, segue.spans, segue.grants
    TO segue_reader;
GRANT EXECUTE ON FUNCTION segue.me(), segue.check_owner(bigint), segue.minutes(bigint),
    segue.strands(bigint, bigint, integer, integer), segue.other_machines(bigint, bytea, bytea),
    segue.page(segue.sessions, text, bigint, bigint, integer, bigint),
    segue.may_match(text, text[], boolean), segue.is_admitted(
        segue.sessions, bytea, boolean, text[], bytea[], bytea[], bytea, bytea
    ) TO segue_reader;
RESET ROLE;
SET ROLE segue_reader;

-- Finding what is shared --------------------------------------------------------------------------

-- The grants to the caller, and to the groups that it is a member of. A role that was dropped,
-- renamed or restored elsewhere has none: it must have the name and the number of the one that was
-- granted.
CREATE FUNCTION segue.granted() RETURNS SETOF segue.grants
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM segue.grants) THEN RETURN; END IF;
    RETURN QUERY
    WITH RECURSIVE roles (number) AS (
        SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user
        UNION
        SELECT m.roleid FROM roles JOIN pg_auth_members m ON m.member = roles.number
    )
    SELECT g.* FROM roles
    JOIN segue.grants g ON g.grantee = roles.number
    JOIN pg_roles r ON r.oid = g.grantee AND r.rolname = g.grantee_name
    WHERE pg_has_role(session_user, r.oid, 'USAGE') AND g.owner <> segue.me();
END $$;

CREATE FUNCTION segue.any_granted() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM segue.granted());
END $$;

-- Whether the caller has a session of its own with this id, which is found in place of another's.
CREATE FUNCTION segue.is_own(a_id bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM segue.sessions s WHERE s.owner = segue.me() AND s.id = a_id);
END $$;

-- The sessions that the caller was granted, each once. As `is_own`, but by the first id at or above: with `=`
-- they might be joined with all sessions of the caller.
CREATE FUNCTION segue.shared() RETURNS TABLE (granter text, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE me CONSTANT bigint := segue.me();
BEGIN
    RETURN QUERY
    WITH granted AS MATERIALIZED (SELECT * FROM segue.granted())
    SELECT DISTINCT ON ((f.s).id) f.granter, f.s FROM (
        SELECT g.granter::text, s FROM granted g
        JOIN segue.sessions s ON s.owner = g.owner AND s.number = g.session
        UNION ALL
        SELECT g.granter::text, s FROM granted g
        JOIN segue.sessions s ON s.owner = g.owner AND s.at_repository = g.at_repository
            AND s.at_repository IS NOT NULL AND NOT s.is_stub
        WHERE g.session = 0
    ) f WHERE NOT (f.s).is_stub AND (f.s).id IS DISTINCT FROM (
        SELECT o.id FROM segue.sessions o
        WHERE o.owner = me AND o.id >= (f.s).id ORDER BY o.id LIMIT 1
    )
    ORDER BY (f.s).id, (f.s).owner;
END $$;

-- The one with an id.
CREATE FUNCTION segue.find_shared(a_id bytea) RETURNS TABLE (granter text, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Citus would refuse the query, even if it found nothing.
    IF NOT EXISTS (SELECT 1 FROM segue.grants) THEN RETURN; END IF;
    RETURN QUERY SELECT g.granter::text, s FROM segue.granted() g
    JOIN segue.sessions s ON s.owner = g.owner AND s.id = a_id
        AND (s.number = g.session OR g.session = 0 AND s.at_repository = g.at_repository)
    WHERE NOT s.is_stub AND NOT segue.is_own(a_id) ORDER BY s.owner LIMIT 1;
END $$;

-- The newest of them: of each grant and machine no more than a_limit are read.
CREATE FUNCTION segue.newest_shared(
    a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea,
    a_archived boolean, a_sources text[], a_time bigint, a_number bigint, a_limit integer
) RETURNS TABLE (granter text, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE me CONSTANT bigint := segue.me();
BEGIN
    RETURN QUERY
    WITH granted AS MATERIALIZED (SELECT * FROM segue.granted())
    SELECT DISTINCT ON ((f.s).updated_at, (f.s).number) f.granter, f.s FROM (
        SELECT g.granter::text, s FROM granted g
        JOIN segue.sessions s ON s.owner = g.owner AND s.number = g.session
        UNION ALL
        SELECT g.granter::text, n.s FROM granted g
        CROSS JOIN LATERAL segue.other_machines(g.owner, g.at_repository, '') m
        CROSS JOIN LATERAL (
            SELECT s FROM segue.sessions s
            WHERE s.owner = g.owner AND s.at_repository = g.at_repository
                AND s.at_repository IS NOT NULL AND NOT s.is_stub
                AND s.machine = m.machine
                AND s.recent <= segue.minutes(a_time)
                AND (s.updated_at, s.number) < (a_time, a_number)
                AND (a_sources IS NULL OR coalesce(s.source, 'segue') = ANY (a_sources))
                AND segue.is_admitted(
                    s, NULL, a_archived, NULL, a_places, a_common_dirs, a_repository, a_machine
                ) AND NOT segue.is_own(s.id)
            ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
        ) n
        WHERE g.session = 0
    ) f
    WHERE ((f.s).updated_at, (f.s).number) < (a_time, a_number)
        AND (a_sources IS NULL OR coalesce((f.s).source, 'segue') = ANY (a_sources))
        AND segue.is_admitted(
            f.s, NULL, a_archived, NULL, a_places, a_common_dirs, a_repository, a_machine
        ) AND (f.s).id IS DISTINCT FROM (
            SELECT o.id FROM segue.sessions o
            WHERE o.owner = me AND o.id >= (f.s).id ORDER BY o.id LIMIT 1
        )
    ORDER BY (f.s).updated_at DESC, (f.s).number DESC LIMIT a_limit;
END $$;

-- Of each pair of bounds, the next id above the one and the next below the other.
CREATE FUNCTION segue.shared_neighbours(a_above bytea[], a_below bytea[])
RETURNS TABLE (place bigint, next_above bytea, next_below bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    granted CONSTANT segue.grants[] := ARRAY(SELECT g FROM segue.granted() g);
    ids CONSTANT bytea[] := ARRAY(
        SELECT DISTINCT n.id FROM unnest(granted) g CROSS JOIN LATERAL (
            SELECT s.id, s.number, s.is_stub FROM segue.sessions s
            WHERE s.owner = g.owner AND s.number >= g.session ORDER BY s.number LIMIT 1
        ) n WHERE n.number = g.session AND NOT n.is_stub ORDER BY n.id
    );
BEGIN
    RETURN QUERY
    SELECT b.place, ids[width_bucket(b.above, ids) + 1],
        ids[c.count - (ids[c.count] = b.below)::integer]
    FROM unnest(a_above, a_below) WITH ORDINALITY AS b (above, below, place)
    CROSS JOIN LATERAL (SELECT width_bucket(b.below, ids) AS count) c
    UNION ALL
    SELECT b.place, (
        SELECT s.id FROM segue.sessions s WHERE s.owner = g.owner
            AND s.at_repository = g.at_repository AND s.id > b.above ORDER BY s.id LIMIT 1
    ), (
        SELECT s.id FROM segue.sessions s WHERE s.owner = g.owner
            AND s.at_repository = g.at_repository AND s.id < b.below ORDER BY s.id DESC LIMIT 1
    )
    FROM unnest(a_above, a_below) WITH ORDINALITY AS b (above, below, place)
    CROSS JOIN unnest(granted) g WHERE g.session = 0;
END $$;

-- Reading what is shared --------------------------------------------------------------------------

CREATE FUNCTION segue.shared_page(
    a_id bytea, a_after bigint, a_before bigint, a_limit integer, a_bytes bigint
) RETURNS SETOF segue_1.line
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.* FROM segue.find_shared(a_id) g CROSS JOIN LATERAL
        segue.page(g.session, g.granter, a_after, a_before, a_limit, a_bytes) p;
END $$;

CREATE FUNCTION segue.shared_events(a_id bytea)
RETURNS TABLE (
    created_at bigint, seq integer, id bytea, invocation bytea, type text, data text
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s segue.sessions;
BEGIN
    SELECT (g.session).* INTO s FROM segue.find_shared(a_id) g;
    RETURN QUERY SELECT e.created_at, e.seq, e.id, e.invocation, e.type, e.data
    FROM segue.strands(s.owner, s.number, s.fork_seq, s.event_count) p
    JOIN segue.events e ON e.owner = s.owner AND e.session = p.strand
        AND e.seq > p.after AND e.seq <= p.last;
END $$;

CREATE FUNCTION segue.shared_invocations(a_id bytea)
RETURNS TABLE (id bytea, client_name text, client_version text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s segue.sessions;
BEGIN
    SELECT (g.session).* INTO s FROM segue.find_shared(a_id) g;
    RETURN QUERY SELECT DISTINCT ON (i.id) i.id, i.client_name, i.client_version
    FROM segue.strands(s.owner, s.number, s.fork_seq, s.event_count) p
    JOIN segue.invocations i ON i.owner = s.owner AND i.session = p.strand;
END $$;

-- As segue_1.search does in one's own, among what is shared; who shares a session is in its row.
CREATE FUNCTION segue.search_shared(
    a_patterns text[], a_title_patterns text[], a_folds boolean,
    a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea,
    a_session bytea, a_archived boolean, a_types text[],
    a_sources text[], a_updated_at bigint, a_number bigint, a_seq bigint,
    a_limit integer, a_bytes bigint, a_milliseconds double precision
) RETURNS TABLE (
    kind text, updated_at bigint, number bigint, seq bigint, id bytea, created_at bigint,
    type text, data text, session segue.sessions, shared_by text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    title_seq CONSTANT bigint := 4294967296;
    part CONSTANT integer := 256;
    ends CONSTANT timestamptz := clock_timestamp() + a_milliseconds * interval '1 millisecond';
    searched bigint[];
    s segue.sessions; g record; e record;
    top bigint;
    has_begun boolean := false; is_named boolean;
    found_count integer := 0; found_bytes bigint := 0;
BEGIN
    IF a_session IS NOT NULL AND NOT EXISTS (SELECT 1 FROM segue.find_shared(a_session)) THEN
        kind := 'absent';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT coalesce(array_agg((f.session).number), '{}') INTO searched FROM segue.shared() f
        WHERE segue.is_admitted(f.session, a_session, a_archived, a_sources,
            a_places, a_common_dirs, a_repository, a_machine);
    FOR g IN
        SELECT f.granter, f.session FROM segue.shared() f
        WHERE (f.session).number = ANY (searched)
            AND ((f.session).updated_at, (f.session).number) <= (a_updated_at, a_number)
        ORDER BY (f.session).updated_at DESC, (f.session).number DESC
    LOOP
        s := g.session;
        is_named := false;
        updated_at := s.updated_at;
        number := s.number;
        top := CASE WHEN (s.updated_at, s.number) = (a_updated_at, a_number) THEN a_seq
            ELSE 9223372036854775807 END;
        IF top > title_seq AND a_types IS NULL AND (
            segue.may_match(coalesce(s.given_title, s.title), a_title_patterns, a_folds)
            OR coalesce(s.given_title, s.title) ~ '[^ -~]'
        ) THEN
            is_named := true;
            kind := 'session'; session := s; shared_by := g.granter; RETURN NEXT;
            kind := 'title'; session := NULL; seq := title_seq; RETURN NEXT;
            found_count := found_count + 1;
        END IF;
        top := least(top - 1, s.event_count);
        WHILE top > 0 LOOP
            kind := 'later'; seq := top + 1;
            id := NULL; data := NULL; type := NULL; created_at := NULL; session := NULL;
            IF found_count >= a_limit OR found_bytes >= a_bytes
                OR has_begun AND clock_timestamp() > ends
            THEN
                RETURN NEXT;
                RETURN;
            END IF;
            has_begun := true;
            FOR e IN
                SELECT x.seq, x.id, x.created_at, x.type, x.data
                FROM segue.strands(s.owner, s.number, s.fork_seq, s.event_count) p
                JOIN segue.events x ON x.owner = s.owner AND x.session = p.strand
                    AND x.seq > greatest(top - part, p.after) AND x.seq <= least(top, p.last)
                WHERE (a_types IS NULL OR x.type = ANY (a_types))
                    AND segue.may_match(x.data, a_patterns, a_folds)
                    -- What several have is found once: where it was written, or in the newest.
                    AND (p.strand = s.number OR p.strand <> ALL (searched)) AND NOT EXISTS (
                        SELECT 1 FROM segue.spans q
                        JOIN segue.sessions u ON u.owner = s.owner AND u.number = q.session
                        WHERE p.strand <> s.number AND q.owner = s.owner AND q.strand = p.strand
                            AND q.last >= x.seq AND u.number = ANY (searched)
                            AND (u.updated_at, u.number) > (s.updated_at, s.number)
                            AND NOT EXISTS (
                                SELECT 1 FROM segue.spans b WHERE b.owner = s.owner
                                    AND b.session = q.session AND b.last < q.last
                                    AND b.last >= x.seq
                            )
                    )
                ORDER BY x.seq DESC
            LOOP
                IF NOT is_named THEN
                    is_named := true;
                    kind := 'session'; session := s; shared_by := g.granter; RETURN NEXT;
                    session := NULL;
                END IF;
                kind := 'event'; seq := e.seq; id := e.id; created_at := e.created_at;
                type := e.type; data := e.data;
                RETURN NEXT;
                found_count := found_count + 1;
                found_bytes := found_bytes + octet_length(e.data);
                IF found_count >= a_limit OR found_bytes >= a_bytes THEN
                    kind := 'later'; id := NULL; data := NULL; type := NULL; created_at := NULL;
                    RETURN NEXT;
                    RETURN;
                END IF;
            END LOOP;
            top := greatest(top - part, 0);
        END LOOP;
    END LOOP;
    kind := 'end'; session := NULL;
    RETURN NEXT;
END $$;

DO $$
DECLARE function regprocedure;
BEGIN
    FOR function IN SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'segue'::regnamespace AND p.proowner = 'segue_reader'::regrole
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO segue_owner', function);
    END LOOP;
END $$;
RESET ROLE;
SET ROLE segue_owner;
REVOKE CREATE ON SCHEMA segue FROM segue_reader;

-- A page of the list as segue_1.list has it, with what others share.
CREATE FUNCTION segue_1.list_all(
    a_owner bigint, a_by_prompt boolean, a_places bytea[], a_common_dirs bytea[],
    a_repository bytea, a_machine bytea, a_archived boolean, a_sources text[], a_time bigint,
    a_number bigint, a_limit integer, a_looked_at integer
) RETURNS TABLE (is_held boolean, shared_by text, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    IF NOT segue.any_granted() THEN
        RETURN QUERY SELECT o.is_held, NULL::text, o.session FROM segue_1.list(
            a_owner, a_by_prompt, a_places, a_common_dirs, a_repository, a_machine, a_archived,
            a_sources, a_time, a_number, a_limit, a_looked_at
        ) o;
        RETURN;
    END IF;
    RETURN QUERY
    WITH own AS MATERIALIZED (
        SELECT o.is_held, NULL::text AS granter, o.session FROM segue_1.list(
            a_owner, a_by_prompt, a_places, a_common_dirs, a_repository, a_machine, a_archived,
            a_sources, a_time, a_number, a_limit, a_looked_at
        ) o
    ), both_of AS (
        SELECT * FROM own
        UNION ALL
        SELECT false, n.granter, n.session FROM segue.newest_shared(
            a_places, a_common_dirs, a_repository, a_machine, a_archived, a_sources,
            a_time, a_number, a_limit
        ) n WHERE NOT a_by_prompt
        UNION ALL
        (SELECT false, n.granter, n.session FROM segue.shared() n
        WHERE a_by_prompt AND segue.is_admitted(
            n.session, NULL, a_archived, NULL, a_places, a_common_dirs, a_repository, a_machine
        ) AND (a_sources IS NULL OR coalesce((n.session).source, 'segue') = ANY (a_sources))
            AND (coalesce((n.session).last_prompt_at, (n.session).created_at), (n.session).number)
                < (a_time, a_number)
        ORDER BY coalesce((n.session).last_prompt_at, (n.session).created_at) DESC,
            (n.session).number DESC LIMIT a_limit)
    ), timed AS (
        SELECT b.*, CASE WHEN a_by_prompt
            THEN coalesce((b.session).last_prompt_at, (b.session).created_at)
            ELSE (b.session).updated_at END AS time, (b.session).number AS number
        FROM both_of b
    )
    SELECT t.is_held, t.granter, t.session FROM timed t
    WHERE (t.time, t.number) < (a_time, a_number) AND NOT EXISTS (
        -- What is behind where one's own were looked at is on a later page.
        SELECT 1 FROM timed m WHERE m.is_held IS NULL AND (t.time, t.number) < (m.time, m.number)
    )
    ORDER BY t.time DESC, t.number DESC LIMIT a_limit + 1;
END $$;

-- Whether others share anything with the caller.
CREATE FUNCTION segue_1.any_shared(a_owner bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN segue.any_granted();
END $$;

-- What differs after something was said in what others share; null if they share nothing.
CREATE FUNCTION segue_1.shared_mark(a_owner bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE newest CONSTANT bigint := 9223372036854775807;
BEGIN
    PERFORM segue.check_owner(a_owner);
    IF NOT segue.any_granted() THEN RETURN NULL; END IF;
    RETURN coalesce((
        SELECT concat_ws(' ', (n.session).number, (n.session).updated_at, (n.session).event_count)
        FROM segue.newest_shared(NULL, NULL, NULL, NULL, true, NULL, newest, newest, 1) n
    ), '');
END $$;

-- Who shares a session; null if nobody does, or it is the caller's own.
CREATE FUNCTION segue_1.shared_by(a_owner bigint, a_session bytea) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN (SELECT g.granter FROM segue.find_shared(a_session) g);
END $$;

CREATE FUNCTION segue_1.search_shared(
    a_owner bigint, a_patterns text[], a_title_patterns text[], a_folds boolean,
    a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea,
    a_session bytea, a_archived boolean, a_types text[],
    a_sources text[], a_updated_at bigint, a_number bigint, a_seq bigint,
    a_limit integer, a_bytes bigint, a_milliseconds double precision
) RETURNS TABLE (
    kind text, updated_at bigint, number bigint, seq bigint, id bytea, created_at bigint,
    type text, data text, session segue.sessions, shared_by text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT * FROM segue.search_shared(
        a_patterns, a_title_patterns, a_folds, a_places, a_common_dirs, a_repository, a_machine,
        a_session, a_archived, a_types, a_sources, a_updated_at, a_number, a_seq, a_limit, a_bytes,
        a_milliseconds
    );
END $$;

-- Grant or revoke; return done, absent if there is no such session, no role, or none to revoke.
CREATE FUNCTION segue_1.share(
    a_owner bigint, a_session bytea, a_repository text, a_at_repository bytea, a_grantee text,
    a_revoked boolean
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
    INSERT INTO segue.grants AS g
        (owner, session, repository, granter, grantee, grantee_name, at_repository)
    VALUES (a_owner, of_session, coalesce(a_repository, ''), session_user, role, a_grantee,
        coalesce(a_at_repository, ''))
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

DO $$
DECLARE function regprocedure;
BEGIN
    FOR function IN SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'segue_1'::regnamespace
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO segue_user', function);
    END LOOP;
END $$;
RESET ROLE;
RESET search_path;
