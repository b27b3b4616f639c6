-- The calls of version 1: one function a call, which roles of segue_user may execute. Run by an
-- administrator. A later version adds segue_2, and rewrites these over its tables.
--
-- Statements have shapes that leave the planner no choice: pages are ordered by seq with a LIMIT, ids
-- are looked up by the first one that is not less. A plan that is made while the tables are empty,
-- and is kept, is right at any size.
CREATE SCHEMA segue_1 AUTHORIZATION segue_owner;
SET ROLE segue_owner;
SET search_path = pg_catalog;

-- Who the caller is; and takes the locks of what its service holds again, after a reconnection.
CREATE FUNCTION segue_1.hello(a_held bigint[])
RETURNS TABLE (account bigint, process integer, in_recovery boolean, encoding text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_try_advisory_lock_shared(key) FROM unnest(a_held) AS key;
    RETURN QUERY SELECT segue.me(), pg_backend_pid(), pg_is_in_recovery(),
        current_setting('server_encoding');
END $$;

-- Appending ---------------------------------------------------------------------------------------

-- Those of some ids that a session has, its own events and what it shares, by their places.
CREATE FUNCTION segue.find_events(a_owner bigint, a_number bigint, a_fork_seq integer, a_ids bytea[])
RETURNS TABLE (place bigint, seq integer, type text, data text)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY
    SELECT g.place, e.seq, e.type, e.data FROM unnest(a_ids) WITH ORDINALITY AS g (id, place)
    CROSS JOIN LATERAL (
        SELECT x.id, x.seq, x.type, x.data FROM segue.events x
        WHERE x.owner = a_owner AND x.session = a_number AND x.id >= g.id ORDER BY x.id LIMIT 1
    ) e WHERE e.id = g.id;
    IF a_fork_seq > 0 THEN
        RETURN QUERY
        SELECT g.place, e.seq, e.type, e.data FROM segue.spans p
        CROSS JOIN unnest(a_ids) WITH ORDINALITY AS g (id, place)
        CROSS JOIN LATERAL (
            SELECT x.id, x.seq, x.type, x.data FROM segue.events x
            WHERE x.owner = a_owner AND x.session = p.strand AND x.id >= g.id
            ORDER BY x.id LIMIT 1
        ) e
        WHERE p.owner = a_owner AND p.session = a_number AND e.id = g.id AND e.seq <= p.last
            AND e.seq > coalesce((
                SELECT max(q.last) FROM segue.spans q
                WHERE q.owner = a_owner AND q.session = a_number AND q.last < p.last
            ), 0);
    END IF;
END $$;

-- What an append came to: all, mixed, absent, head_moved, or differs, once for each event of which
-- something else is stored: then nothing is written, and the caller judges.
CREATE TYPE segue_1.outcome AS (
    outcome text, head bytea, event_count integer, added integer, seqs integer[], event bytea,
    type text, data text
);

CREATE FUNCTION segue_1.append(
    a_owner bigint, a_session bytea, a_invocation bytea,
    a_parent bytea, a_own_head boolean,
    a_ids bytea[], a_types text[], a_datas text[],       -- the ids are distinct
    a_boundary boolean,                                  -- the first event is the boundary
    a_title text, a_title_place integer,                 -- of the first event that gives a title
    a_visible_place integer,                             -- of the first event that a model is sent
    a_client text, a_version text, a_agent text, a_model text, a_branch text
) RETURNS SETOF segue_1.outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at bigint;
    n CONSTANT integer := cardinality(a_ids);
    lead CONSTANT integer := a_boundary::integer;
    is_prompted boolean := 'user_message' = ANY (a_types);
    s record;
    o segue_1.outcome;
    added integer := 0;
    first_new integer;
    new_title_seq integer; new_visible_seq integer;
BEGIN
    PERFORM segue.begin_write(a_owner);
    at := segue.clock();

    -- What nearly every append is: all of it new, behind the head. The row's lock is its own check.
    IF n > lead THEN
        BEGIN
            UPDATE segue.sessions u SET
                event_count = u.event_count + n, head = a_ids[n], head_invocation = a_invocation,
                updated_at = at, recent = segue.minutes(at),
                title = coalesce(u.title, a_title),
                title_seq = coalesce(u.title_seq, u.event_count + a_title_place),
                model_visible = u.model_visible OR a_visible_place IS NOT NULL,
                visible_seq = coalesce(u.visible_seq, u.event_count + a_visible_place),
                last_prompt_at = CASE WHEN is_prompted THEN at ELSE u.last_prompt_at END,
                prompted = CASE WHEN is_prompted THEN segue.minutes(at) ELSE u.prompted END,
                client = coalesce(a_client, u.client),
                agent = CASE WHEN coalesce(a_agent, a_model) IS NULL THEN u.agent ELSE a_agent END,
                model = CASE WHEN coalesce(a_agent, a_model) IS NULL THEN u.model ELSE a_model END,
                branch = coalesce(a_branch, u.branch)
            WHERE u.owner = a_owner AND u.id = a_session
                AND (u.head IS NOT DISTINCT FROM a_parent
                    OR (a_own_head AND u.head_invocation = a_invocation))
            RETURNING u.number, u.fork_seq, u.event_count INTO s;
            IF FOUND THEN
                -- Counted by what it returns: Citus counts the skipped ones in ROW_COUNT.
                WITH written AS (
                    INSERT INTO segue.events
                        (created_at, session, owner, seq, id, invocation, type, data)
                    SELECT at, s.number, a_owner, s.event_count - n + g.place, g.id, a_invocation,
                        g.type, g.data
                    FROM unnest(a_ids, a_types, a_datas) WITH ORDINALITY AS g (id, type, data, place)
                    ON CONFLICT (owner, session, id) DO NOTHING RETURNING 1
                ) SELECT count(*) INTO added FROM written;
                IF added < n OR s.fork_seq > 0 AND EXISTS (
                    SELECT 1 FROM segue.find_events(a_owner, s.number, s.fork_seq, a_ids) f
                    WHERE f.seq <= s.fork_seq
                ) THEN
                    RAISE 'some is stored' USING ERRCODE = 'SG001';
                END IF;
                PERFORM segue.add_invocation(a_owner, s.number, a_invocation, a_client, a_version);
                o.outcome := 'all'; o.head := a_ids[n]; o.event_count := s.event_count; o.added := n;
                RETURN NEXT o;
                RETURN;
            END IF;
        EXCEPTION WHEN SQLSTATE 'SG001' THEN NULL;
        END;
    END IF;

    SELECT * INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        o.outcome := 'absent';
        RETURN NEXT o;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT 'differs'::text, NULL::bytea, NULL::integer, NULL::integer, NULL::integer[], g.id, f.type, f.data
    FROM segue.find_events(a_owner, s.number, s.fork_seq, a_ids) f
    JOIN unnest(a_ids, a_types, a_datas) WITH ORDINALITY AS g (id, type, data, place)
        ON g.place = f.place
    WHERE f.type <> g.type OR f.data <> g.data;
    IF FOUND THEN RETURN; END IF;

    o.seqs := segue.seqs(a_owner, s.number, s.fork_seq, a_ids);
    o.head := s.head;
    o.event_count := s.event_count;
    o.added := 0;
    o.outcome := 'mixed';
    SELECT min(g.place) INTO first_new FROM unnest(o.seqs) WITH ORDINALITY AS g (seq, place)
        WHERE g.seq IS NULL AND g.place > lead;
    IF first_new IS NULL THEN
        RETURN NEXT o;
        RETURN;
    END IF;
    IF s.head IS DISTINCT FROM a_parent
        AND NOT coalesce(first_new > lead + 1 AND s.head = a_ids[first_new - 1], false)
        AND NOT coalesce(a_own_head AND s.head_invocation = a_invocation, false)
    THEN
        o.outcome := 'head_moved';
        RETURN NEXT o;
        RETURN;
    END IF;
    WITH fresh AS (
        SELECT g.id, g.type, g.data, row_number() OVER (ORDER BY g.place) AS rank
        FROM unnest(a_ids, a_types, a_datas, o.seqs)
            WITH ORDINALITY AS g (id, type, data, seq, place)
        WHERE g.seq IS NULL
    ), written AS (
        INSERT INTO segue.events (created_at, session, owner, seq, id, invocation, type, data)
        SELECT at, s.number, a_owner, s.event_count + f.rank, f.id, a_invocation, f.type, f.data
        FROM fresh f RETURNING seq, id, type
    )
    SELECT count(*), (array_agg(w.id ORDER BY w.seq DESC))[1], bool_or(w.type = 'user_message')
        INTO added, o.head, is_prompted FROM written w;
    -- What is not the first of its kind here is not the first of the session, either.
    IF o.seqs[a_title_place] IS NULL THEN new_title_seq := a_title_place; END IF;
    IF o.seqs[a_visible_place] IS NULL THEN new_visible_seq := a_visible_place; END IF;
    o.seqs := segue.seqs(a_owner, s.number, s.fork_seq, a_ids);
    o.event_count := s.event_count + added;
    o.added := added;
    UPDATE segue.sessions u SET
        event_count = o.event_count, head = o.head, head_invocation = a_invocation,
        updated_at = at, recent = segue.minutes(at),
        title = CASE WHEN new_title_seq IS NULL THEN u.title ELSE coalesce(u.title, a_title) END,
        title_seq = coalesce(u.title_seq, o.seqs[new_title_seq]),
        model_visible = u.model_visible OR new_visible_seq IS NOT NULL,
        visible_seq = coalesce(u.visible_seq, o.seqs[new_visible_seq]),
        last_prompt_at = CASE WHEN is_prompted THEN at ELSE u.last_prompt_at END,
        prompted = CASE WHEN is_prompted THEN segue.minutes(at) ELSE u.prompted END,
        client = coalesce(a_client, u.client),
        agent = CASE WHEN coalesce(a_agent, a_model) IS NULL THEN u.agent ELSE a_agent END,
        model = CASE WHEN coalesce(a_agent, a_model) IS NULL THEN u.model ELSE a_model END,
        branch = coalesce(a_branch, u.branch)
    WHERE u.owner = a_owner AND u.number = s.number;
    PERFORM segue.add_invocation(a_owner, s.number, a_invocation, a_client, a_version);
    RETURN NEXT o;
END $$;

CREATE FUNCTION segue.seqs(a_owner bigint, a_number bigint, a_fork_seq integer, a_ids bytea[])
RETURNS integer[] LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (
        SELECT array_agg(f.seq ORDER BY g.place)
        FROM unnest(a_ids) WITH ORDINALITY AS g (id, place)
        LEFT JOIN segue.find_events(a_owner, a_number, a_fork_seq, a_ids) f ON f.place = g.place
    );
END $$;

-- The client of an invocation is that of its first event.
CREATE FUNCTION segue.add_invocation(
    a_owner bigint, a_number bigint, a_id bytea, a_name text, a_version text
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM segue.invocations i
        WHERE i.owner = a_owner AND i.session = a_number AND i.id = a_id
    ) THEN
        INSERT INTO segue.invocations (owner, session, id, client_name, client_version)
        VALUES (a_owner, a_number, a_id, a_name, a_version) ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- What is given with a new session.
CREATE TYPE segue_1.new_session AS (
    id bytea, directory text, git_root text, git_common_dir text, repository text, worktree text,
    machine_name text, machine bytea,
    at_directory bytea, at_git_root bytea, at_git_common_dir bytea, at_repository bytea,
    server_session_id text, given_title text, source text,
    created_at bigint, updated_at bigint, archived_at bigint
);

-- Store a row without events; return its number, or null if there is one.
CREATE FUNCTION segue.insert_session(
    a_owner bigint, a_new segue_1.new_session, a_at bigint,
    a_keys text[], a_values text[], a_names bytea[]
) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    created CONSTANT bigint := coalesce(a_new.created_at, a_at);
    updated CONSTANT bigint := coalesce(a_new.updated_at, a_at);
    new_number bigint;
BEGIN
    INSERT INTO segue.sessions (
        owner, id, directory, git_root, git_common_dir, repository, worktree, machine_name, machine,
        at_directory, at_git_root, at_git_common_dir, at_repository, server_session_id, given_title,
        source,
        created_at, updated_at, archived_at, recent, prompted
    ) VALUES (
        a_owner, a_new.id, a_new.directory, a_new.git_root, a_new.git_common_dir,
        a_new.repository, a_new.worktree, a_new.machine_name, a_new.machine, a_new.at_directory, a_new.at_git_root, a_new.at_git_common_dir,
        a_new.at_repository, a_new.server_session_id, a_new.given_title, a_new.source,
        created, updated, a_new.archived_at, segue.minutes(updated), segue.minutes(created)
    ) ON CONFLICT (owner, id) DO NOTHING RETURNING number INTO new_number;
    IF new_number IS NOT NULL THEN
        INSERT INTO segue.metadata (owner, session, key, value, names)
        SELECT a_owner, new_number, g.key, g.value,
            CASE WHEN g.key = 'acp.agents' THEN a_names END
        FROM unnest(a_keys, a_values) AS g (key, value);
    END IF;
    RETURN new_number;
END $$;

CREATE FUNCTION segue_1.create_session(
    a_owner bigint, a_new segue_1.new_session, a_keys text[], a_values text[], a_names bytea[],
    a_hold bigint, a_invocation bytea, a_ids bytea[], a_types text[], a_datas text[],
    a_title text, a_title_place integer, a_visible_place integer,
    a_client text, a_version text, a_agent text, a_model text, a_branch text
) RETURNS SETOF segue_1.outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.begin_write(a_owner);
    IF a_hold IS NOT NULL THEN PERFORM pg_advisory_lock_shared(a_hold); END IF;
    PERFORM segue.insert_session(a_owner, a_new, segue.clock(), a_keys, a_values, a_names);
    RETURN QUERY SELECT * FROM segue_1.append(
        a_owner, a_new.id, a_invocation, NULL, false, a_ids, a_types, a_datas, false,
        a_title, a_title_place, a_visible_place, a_client, a_version, a_agent, a_model, a_branch
    );
END $$;

-- Reading -----------------------------------------------------------------------------------------

-- One's own, or one that another account shares, with whose it is: sharing_1.sql has these.
CREATE FUNCTION segue_1.session(a_owner bigint, a_session bytea)
RETURNS TABLE (shared_by text, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT NULL::text, s FROM segue.sessions s
        WHERE s.owner = a_owner AND s.id = a_session;
    IF NOT FOUND THEN RETURN QUERY SELECT * FROM segue.find_shared(a_session); END IF;
END $$;

-- The strands of a session in the order of their events: each has those above `after` up to `last`.
-- Who reads tables by them has them in an array first, because Citus nests no query in another one.
CREATE TYPE segue_1.strand AS (strand bigint, after integer, last integer);

CREATE FUNCTION segue.strands(a_owner bigint, a_number bigint, a_fork_seq integer, a_last integer)
RETURNS SETOF segue_1.strand LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF a_fork_seq > 0 THEN
        RETURN QUERY
        SELECT p.strand, coalesce(lag(p.last) OVER (ORDER BY p.last), 0), p.last
        FROM segue.spans p WHERE p.owner = a_owner AND p.session = a_number ORDER BY p.last;
    END IF;
    RETURN QUERY SELECT a_number, a_fork_seq, a_last;
END $$;

-- A page in the order of reading: first the session, then the event before the page, if there is
-- one, which has no type; the events; and the invocations of them, which have no seq. A session that
-- another account shares says whose it is in place of a client.
CREATE TYPE segue_1.line AS (
    seq integer, id bytea, invocation bytea, created_at bigint, type text, data text,
    client_name text, client_version text, session segue.sessions
);

CREATE FUNCTION segue_1.page(
    a_owner bigint, a_session bytea, a_after bigint, a_before bigint, a_limit integer,
    a_bytes bigint
) RETURNS SETOF segue_1.line
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s segue.sessions;
BEGIN
    PERFORM segue.check_owner(a_owner);
    SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM segue.page(s, NULL, a_after, a_before, a_limit, a_bytes);
    ELSE
        RETURN QUERY SELECT * FROM segue.shared_page(
            a_session, a_after, a_before, a_limit, a_bytes
        );
    END IF;
END $$;

CREATE FUNCTION segue.page(
    s segue.sessions, a_shared_by text, a_after bigint, a_before bigint, a_limit integer,
    a_bytes bigint
) RETURNS SETOF segue_1.line LANGUAGE plpgsql STABLE AS $$
DECLARE
    a_owner CONSTANT bigint := s.owner;
    strands CONSTANT segue_1.strand[] := ARRAY(
        SELECT g FROM segue.strands(a_owner, s.number, s.fork_seq, s.event_count) g
    );
    low integer; high integer;
    p record; e record;
    total bigint := 0;
    begins integer; ends integer;
    writers bytea[];
BEGIN
    RETURN QUERY SELECT 0, NULL::bytea, NULL::bytea, NULL::bigint, NULL::text, NULL::text,
        a_shared_by, NULL::text, s;
    IF a_after IS NOT NULL THEN
        low := least(greatest(a_after, 0), s.event_count);
        high := least(low::bigint + a_limit, s.event_count);
    ELSE
        high := greatest(least(coalesce(a_before, 4294967295) - 1, s.event_count), 0);
        low := greatest(high::bigint - a_limit, 0);
    END IF;
    IF high <= low THEN RETURN; END IF;
    FOR p IN SELECT * FROM unnest(strands) LOOP
        begins := greatest(low, p.after) + 1;
        ends := least(high, p.last);
        CONTINUE WHEN begins > ends;
        SELECT total + coalesce(sum(x.size), 0) INTO total FROM (
            SELECT octet_length(t.data) AS size FROM segue.events t
            WHERE t.owner = a_owner AND t.session = p.strand AND t.seq >= begins AND t.seq <= ends
            ORDER BY t.seq LIMIT ends - begins + 1
        ) x;
    END LOOP;
    IF total > a_bytes THEN
        -- Sizes first, in the direction of reading, so that no more is read than is sent.
        total := 0;
        FOR e IN
            SELECT x.seq, x.size FROM unnest(strands) g CROSS JOIN LATERAL (
                SELECT t.seq, octet_length(t.data) AS size FROM segue.events t
                WHERE t.owner = a_owner AND t.session = g.strand
                    AND t.seq > greatest(low, g.after) AND t.seq <= least(high, g.last)
                ORDER BY t.seq LIMIT high - low
            ) x
            ORDER BY CASE WHEN a_after IS NULL THEN -x.seq ELSE x.seq END
        LOOP
            total := total + e.size;
            IF total > a_bytes AND a_after IS NULL AND e.seq < high THEN
                low := e.seq;
                EXIT;
            ELSIF total > a_bytes AND a_after IS NOT NULL AND e.seq > low + 1 THEN
                high := e.seq - 1;
                EXIT;
            END IF;
        END LOOP;
    END IF;
    FOR p IN SELECT * FROM unnest(strands) LOOP
        -- With the one before them, which is the parent of the first.
        begins := greatest(low, p.after + 1);
        ends := least(high, p.last);
        CONTINUE WHEN begins > ends;
        RETURN QUERY SELECT t.seq, t.id, t.invocation, t.created_at,
            CASE WHEN t.seq > low THEN t.type END, CASE WHEN t.seq > low THEN t.data END,
            NULL::text, NULL::text, NULL::segue.sessions
        FROM segue.events t
        WHERE t.owner = a_owner AND t.session = p.strand AND t.seq >= begins AND t.seq <= ends
        ORDER BY t.seq LIMIT ends - begins + 1;
        SELECT array_agg(DISTINCT x.invocation) INTO writers FROM (
            SELECT t.invocation FROM segue.events t
            WHERE t.owner = a_owner AND t.session = p.strand AND t.seq >= begins AND t.seq <= ends
            ORDER BY t.seq LIMIT ends - begins + 1
        ) x;
        RETURN QUERY SELECT NULL::integer, i.id, NULL::bytea, NULL::bigint, NULL::text, NULL::text,
            i.client_name, i.client_version, NULL::segue.sessions
        FROM unnest(writers) AS g (id) CROSS JOIN LATERAL (
            SELECT v.* FROM segue.invocations v
            WHERE v.owner = a_owner AND v.session = p.strand AND v.id >= g.id
            ORDER BY v.id LIMIT 1
        ) i WHERE i.id = g.id;
    END LOOP;
END $$;

-- The newest events, after the lock of who holds the session.
CREATE FUNCTION segue_1.open(
    a_owner bigint, a_session bytea, a_tail integer, a_bytes bigint, a_hold bigint
) RETURNS SETOF segue_1.line
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    IF a_hold IS NOT NULL THEN PERFORM pg_advisory_lock_shared(a_hold); END IF;
    RETURN QUERY SELECT * FROM segue_1.page(a_owner, a_session, NULL, NULL, a_tail, a_bytes);
END $$;

CREATE FUNCTION segue_1.find_sessions(a_owner bigint, a_low bytea, a_high bytea, a_limit integer)
RETURNS TABLE (shared_by text, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT NULL::text, s FROM segue.sessions s
    WHERE s.owner = a_owner AND s.id >= a_low AND s.id < a_high AND NOT s.is_stub
    ORDER BY s.id LIMIT a_limit;
    IF segue.any_granted() THEN
        RETURN QUERY SELECT g.* FROM segue.shared() g
        WHERE (g.session).id >= a_low AND (g.session).id < a_high
        ORDER BY (g.session).id LIMIT a_limit;
    END IF;
END $$;

-- Of each pair of bounds, the next id above the one and the next below the other: once among one's
-- own and, if others share any, once among those.
CREATE FUNCTION segue_1.neighbours(a_owner bigint, a_above bytea[], a_below bytea[])
RETURNS TABLE (place bigint, next_above bytea, next_below bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT g.place, (
        SELECT s.id FROM segue.sessions s
        WHERE s.owner = a_owner AND s.id > g.above AND NOT s.is_stub ORDER BY s.id LIMIT 1
    ), (
        SELECT s.id FROM segue.sessions s
        WHERE s.owner = a_owner AND s.id < g.below AND NOT s.is_stub ORDER BY s.id DESC LIMIT 1
    ) FROM unnest(a_above, a_below) WITH ORDINALITY AS g (above, below, place);
    IF segue.any_granted() THEN
        RETURN QUERY SELECT * FROM segue.shared_neighbours(a_above, a_below);
    END IF;
END $$;

-- Finding -----------------------------------------------------------------------------------------

-- The machines but a_machine that sessions of a repository were had on: one probe for each.
CREATE FUNCTION segue.other_machines(a_owner bigint, a_repository bytea, a_machine bytea)
RETURNS TABLE (machine bytea) LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF a_repository IS NULL THEN RETURN; END IF;
    machine := '';
    LOOP
        machine := (
            SELECT s.machine FROM segue.sessions s
            WHERE s.owner = a_owner AND s.at_repository = a_repository
                AND s.at_repository IS NOT NULL AND NOT s.is_stub
                AND s.machine > other_machines.machine
            ORDER BY s.machine LIMIT 1
        );
        EXIT WHEN machine IS NULL;
        IF machine <> a_machine THEN RETURN NEXT; END IF;
    END LOOP;
END $$;

-- The sessions that may be resumed, and before them one whose time is too far in the future.
--
-- What each probe finds is sorted by numbers alone; the rows are read once, at the end.
CREATE FUNCTION segue_1.find_resumable(
    a_owner bigint, a_places bytea[], a_repository bytea, a_worktree text, a_machine bytea,
    a_max_age bigint, a_skew bigint, a_limit integer
) RETURNS TABLE (in_future boolean, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT bigint := segue.clock();
    since CONSTANT bigint := at - a_max_age;
    first CONSTANT integer := segue.minutes(since) - 1;
    until bigint := 253402300799999;
    last integer := segue.minutes(until);
    others bytea[];
    found bigint[];
    newest bigint;
BEGIN
    IF segue.me() IS DISTINCT FROM a_owner THEN PERFORM segue.check_owner(a_owner); END IF;
    IF a_repository IS NOT NULL THEN
        others := ARRAY(
            SELECT o.machine FROM segue.other_machines(a_owner, a_repository, a_machine) o
        );
    END IF;
    LOOP
        SELECT array_agg(r.number ORDER BY r.updated_at DESC, r.number DESC), max(r.updated_at)
        INTO found, newest FROM (
            SELECT f.updated_at, f.number FROM unnest(a_places) AS g (place) CROSS JOIN LATERAL (
                SELECT s.updated_at, s.number FROM segue.sessions s
                WHERE s.owner = a_owner AND s.at_directory = g.place
                    AND s.archived_at IS NULL AND s.model_visible
                    AND s.recent >= first AND s.recent <= last
                    AND s.updated_at > since AND s.updated_at <= until
                ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
            ) f
            UNION
            SELECT f.updated_at, f.number FROM unnest(a_places) AS g (place) CROSS JOIN LATERAL (
                SELECT s.updated_at, s.number FROM segue.sessions s
                WHERE s.owner = a_owner AND s.at_git_root = g.place AND s.at_git_root IS NOT NULL
                    AND s.archived_at IS NULL AND s.model_visible
                    AND s.recent >= first AND s.recent <= last
                    AND s.updated_at > since AND s.updated_at <= until
                ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
            ) f
            UNION
            SELECT f.updated_at, f.number FROM unnest(others) AS g (machine) CROSS JOIN LATERAL (
                SELECT s.updated_at, s.number FROM segue.sessions s
                WHERE s.owner = a_owner AND s.at_repository = a_repository
                    AND s.at_repository IS NOT NULL AND s.machine = g.machine
                    AND s.worktree IS NOT DISTINCT FROM a_worktree
                    AND s.archived_at IS NULL AND s.model_visible
                    AND s.recent >= first AND s.recent <= last
                    AND s.updated_at > since AND s.updated_at <= until
                ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
            ) f
        ) r;
        IF found IS NULL THEN RETURN; END IF;
        in_future := newest > at + a_skew;
        RETURN QUERY SELECT in_future, f::segue.sessions FROM unnest(found[:CASE WHEN in_future THEN 1 ELSE a_limit END])
            WITH ORDINALITY AS g (number, place)
        CROSS JOIN LATERAL (
            SELECT s.* FROM segue.sessions s WHERE s.owner = a_owner AND s.number = g.number LIMIT 1
        ) f ORDER BY g.place;
        -- The newest is in the future, which nearly never is: the others are looked for again.
        EXIT WHEN NOT in_future;
        until := at + a_skew;
        last := segue.minutes(until);
    END LOOP;
END $$;

CREATE FUNCTION segue.hold_key(a_owner bigint, a_session bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || encode(substr(sha256(int8send(a_owner) || a_session), 1, 8), 'hex'))
        ::bit(64)::bigint
$$;

-- The keys of all that is held in this database, by whoever it is.
CREATE FUNCTION segue.held_keys() RETURNS bigint[] LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(array_agg((l.classid::bigint << 32) | l.objid::bigint), '{}')
    FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
$$;

-- A page of the list, newest first. A row without an id says up to which session was looked: with
-- `a_sources`, no more than a_looked_at are.
CREATE FUNCTION segue_1.list(
    a_owner bigint, a_by_prompt boolean, a_places bytea[], a_common_dirs bytea[],
    a_repository bytea, a_machine bytea, a_archived boolean, a_sources text[], a_time bigint, a_number bigint, a_limit integer,
    a_looked_at integer
) RETURNS TABLE (is_held boolean, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    minute CONSTANT integer := segue.minutes(a_time);
    held CONSTANT bigint[] := segue.held_keys();
BEGIN
    PERFORM segue.check_owner(a_owner);
    IF a_places IS NULL AND NOT a_by_prompt THEN
        RETURN QUERY SELECT segue.hold_key(a_owner, f.id) = ANY (held), f::segue.sessions FROM (
            SELECT s.* FROM segue.sessions s
            WHERE s.owner = a_owner AND s.recent <= minute
                AND (s.updated_at, s.number) < (a_time, a_number)
                AND (a_archived OR s.archived_at IS NULL) AND NOT s.is_stub
            ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_looked_at
        ) f WHERE a_sources IS NULL OR coalesce(f.source, 'segue') = ANY (a_sources)
        ORDER BY f.recent DESC, f.updated_at DESC, f.number DESC LIMIT a_limit;
        IF a_sources IS NOT NULL THEN
            RETURN QUERY SELECT NULL::boolean, f::segue.sessions FROM (
                SELECT s.* FROM segue.sessions s
                WHERE s.owner = a_owner AND s.recent <= minute
                    AND (s.updated_at, s.number) < (a_time, a_number)
                    AND (a_archived OR s.archived_at IS NULL) AND NOT s.is_stub
                ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC
                LIMIT 1 OFFSET a_looked_at - 1
            ) f;
        END IF;
    ELSIF a_places IS NULL THEN
        RETURN QUERY SELECT segue.hold_key(a_owner, f.id) = ANY (held), f::segue.sessions FROM (
            SELECT s.* FROM segue.sessions s
            WHERE s.owner = a_owner AND s.prompted <= minute
                AND (coalesce(s.last_prompt_at, s.created_at), s.number) < (a_time, a_number)
                AND (a_archived OR s.archived_at IS NULL) AND NOT s.is_stub
            ORDER BY s.prompted DESC, coalesce(s.last_prompt_at, s.created_at) DESC, s.number DESC
            LIMIT a_looked_at
        ) f WHERE a_sources IS NULL OR coalesce(f.source, 'segue') = ANY (a_sources)
        ORDER BY f.prompted DESC, coalesce(f.last_prompt_at, f.created_at) DESC, f.number DESC
        LIMIT a_limit;
        IF a_sources IS NOT NULL THEN
            RETURN QUERY SELECT NULL::boolean, f::segue.sessions FROM (
                SELECT s.* FROM segue.sessions s
                WHERE s.owner = a_owner AND s.prompted <= minute
                    AND (coalesce(s.last_prompt_at, s.created_at), s.number) < (a_time, a_number)
                    AND (a_archived OR s.archived_at IS NULL) AND NOT s.is_stub
                ORDER BY s.prompted DESC, coalesce(s.last_prompt_at, s.created_at) DESC,
                    s.number DESC
                LIMIT 1 OFFSET a_looked_at - 1
            ) f;
        END IF;
    ELSIF NOT a_by_prompt THEN
        RETURN QUERY SELECT segue.hold_key(a_owner, f.id) = ANY (held), f::segue.sessions FROM (
            SELECT DISTINCT ON (h.updated_at, h.number) h.*
            FROM segue.newest_here(
                a_owner, a_places, a_common_dirs, a_repository, a_machine, a_archived, a_sources,
                a_time, a_number, a_limit
            ) h ORDER BY h.updated_at DESC, h.number DESC LIMIT a_limit
        ) f;
    ELSE
        RETURN QUERY SELECT segue.hold_key(a_owner, f.id) = ANY (held), f::segue.sessions
        FROM segue.prompted_here(
            a_owner, a_places, a_common_dirs, a_repository, a_machine, a_archived, a_sources,
            a_time, a_number, a_limit
        ) f ORDER BY coalesce(f.last_prompt_at, f.created_at) DESC, f.number DESC;
    END IF;
END $$;

-- The newest sessions of some places by their last prompts. No index of places has these times: every
-- append of another minute would have to write to it. Where there are many sessions, a page of them
-- is among the newest of the account, most likely; if not, all are sorted, by numbers alone.
CREATE FUNCTION segue.prompted_here(
    a_owner bigint, a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea,
    a_archived boolean, a_sources text[], a_time bigint, a_number bigint, a_limit integer
) RETURNS SETOF segue.sessions LANGUAGE plpgsql STABLE AS $$
DECLARE
    few CONSTANT integer := 1000;
    looked_at CONSTANT integer := 10000;
    newest bigint[];
BEGIN
    IF EXISTS (
        SELECT 1 FROM unnest(a_places) AS g (place) CROSS JOIN LATERAL (
            SELECT 1 FROM segue.sessions s
            WHERE s.owner = a_owner AND s.at_directory = g.place AND NOT s.is_stub
            ORDER BY s.recent DESC LIMIT 1 OFFSET few
        ) f
    ) OR EXISTS (
        SELECT 1 FROM unnest(a_common_dirs) AS g (place) CROSS JOIN LATERAL (
            SELECT 1 FROM segue.sessions s
            WHERE s.owner = a_owner AND s.at_git_common_dir = g.place
                AND s.at_git_common_dir IS NOT NULL
            ORDER BY s.recent DESC LIMIT 1 OFFSET few
        ) f
    ) THEN
        newest := ARRAY(
            SELECT (f.s).number FROM (
                SELECT s FROM segue.sessions s
                WHERE s.owner = a_owner AND s.prompted <= segue.minutes(a_time)
                    AND (coalesce(s.last_prompt_at, s.created_at), s.number) < (a_time, a_number)
                    AND NOT s.is_stub
                ORDER BY s.prompted DESC, coalesce(s.last_prompt_at, s.created_at) DESC,
                    s.number DESC
                LIMIT looked_at
            ) f
            WHERE segue.is_admitted(
                f.s, NULL, a_archived, NULL, a_places, a_common_dirs, a_repository, a_machine
            ) AND (a_sources IS NULL OR coalesce((f.s).source, 'segue') = ANY (a_sources))
            LIMIT a_limit
        );
    END IF;
    IF newest IS NULL OR cardinality(newest) < a_limit THEN
        -- In the order of its index: another one would seem to cost as little. A session is found
        -- by three of them at most.
        newest := ARRAY(
            SELECT r.number FROM (
                SELECT f.number, coalesce(f.last_prompt_at, f.created_at) AS time FROM (
                    SELECT w.* FROM unnest(a_places) AS g (place) CROSS JOIN LATERAL (
                        SELECT s.* FROM segue.sessions s
                        WHERE s.owner = a_owner AND s.at_directory = g.place AND NOT s.is_stub
                        ORDER BY s.recent DESC
                    ) w
                    UNION ALL
                    SELECT w.* FROM unnest(a_common_dirs) AS g (place) CROSS JOIN LATERAL (
                        SELECT s.* FROM segue.sessions s
                        WHERE s.owner = a_owner AND s.at_git_common_dir = g.place
                            AND s.at_git_common_dir IS NOT NULL AND NOT s.is_stub
                        ORDER BY s.recent DESC
                    ) w
                    UNION ALL
                    SELECT w.* FROM unnest(a_places) AS g (place) CROSS JOIN LATERAL (
                        SELECT s.* FROM segue.sessions s
                        WHERE s.owner = a_owner AND s.at_git_root = g.place
                            AND s.at_git_root IS NOT NULL AND s.archived_at IS NULL
                            AND s.model_visible
                        ORDER BY s.recent DESC
                    ) w
                    UNION ALL
                    SELECT w.* FROM segue.other_machines(a_owner, a_repository, a_machine) g
                    CROSS JOIN LATERAL (
                        SELECT s.* FROM segue.sessions s
                        WHERE s.owner = a_owner AND s.at_repository = a_repository
                            AND s.at_repository IS NOT NULL AND s.machine = g.machine
                            AND NOT s.is_stub
                        ORDER BY s.recent DESC
                    ) w
                ) f
                WHERE (coalesce(f.last_prompt_at, f.created_at), f.number) < (a_time, a_number)
                    AND (a_archived OR f.archived_at IS NULL)
                    AND (a_sources IS NULL OR coalesce(f.source, 'segue') = ANY (a_sources))
                ORDER BY time DESC, f.number DESC LIMIT 3 * a_limit
            ) r GROUP BY r.time, r.number ORDER BY r.time DESC, r.number DESC LIMIT a_limit
        );
    END IF;
    -- The first at or above each number: with `=` they might be joined with all sessions.
    RETURN QUERY SELECT f.* FROM unnest(newest) AS g (number) CROSS JOIN LATERAL (
        SELECT s.* FROM segue.sessions s WHERE s.owner = a_owner AND s.number >= g.number
        ORDER BY s.number LIMIT 1
    ) f WHERE f.number = g.number;
END $$;

-- Of each place and index the newest sessions; `all_here` has all of them.
CREATE FUNCTION segue.newest_here(
    a_owner bigint, a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea,
    a_archived boolean, a_sources text[], a_time bigint, a_number bigint, a_limit integer
) RETURNS SETOF segue.sessions LANGUAGE plpgsql STABLE AS $$
DECLARE
    minute CONSTANT integer := segue.minutes(a_time);
    others CONSTANT bytea[] := ARRAY(
        SELECT o.machine FROM segue.other_machines(a_owner, a_repository, a_machine) o
    );
BEGIN
    RETURN QUERY SELECT f.* FROM unnest(a_places) AS g (place) CROSS JOIN LATERAL (
        SELECT s.* FROM segue.sessions s
        WHERE s.owner = a_owner AND s.at_directory = g.place AND s.recent <= minute
            AND (s.updated_at, s.number) < (a_time, a_number) AND NOT s.is_stub
            AND (a_archived OR s.archived_at IS NULL)
            AND (a_sources IS NULL OR coalesce(s.source, 'segue') = ANY (a_sources))
        ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
    ) f;
    RETURN QUERY SELECT f.* FROM unnest(a_common_dirs) AS g (place) CROSS JOIN LATERAL (
        SELECT s.* FROM segue.sessions s
        WHERE s.owner = a_owner AND s.at_git_common_dir = g.place AND s.recent <= minute
            AND s.at_git_common_dir IS NOT NULL
            AND (s.updated_at, s.number) < (a_time, a_number) AND NOT s.is_stub
            AND (a_archived OR s.archived_at IS NULL)
            AND (a_sources IS NULL OR coalesce(s.source, 'segue') = ANY (a_sources))
        ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
    ) f;
    RETURN QUERY SELECT f.* FROM unnest(a_places) AS g (place) CROSS JOIN LATERAL (
        SELECT s.* FROM segue.sessions s
        WHERE s.owner = a_owner AND s.at_git_root = g.place AND s.recent <= minute
            AND s.at_git_root IS NOT NULL AND s.archived_at IS NULL AND s.model_visible
            AND (s.updated_at, s.number) < (a_time, a_number)
            AND (a_sources IS NULL OR coalesce(s.source, 'segue') = ANY (a_sources))
        ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
    ) f;
    RETURN QUERY SELECT f.* FROM unnest(others) AS g (machine) CROSS JOIN LATERAL (
        SELECT s.* FROM segue.sessions s
        WHERE s.owner = a_owner AND s.at_repository = a_repository AND s.at_repository IS NOT NULL
            AND s.machine = g.machine AND s.recent <= minute
            AND (s.updated_at, s.number) < (a_time, a_number) AND NOT s.is_stub
            AND (a_archived OR s.archived_at IS NULL)
            AND (a_sources IS NULL OR coalesce(s.source, 'segue') = ANY (a_sources))
        ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT a_limit
    ) f;
END $$;

CREATE FUNCTION segue.all_here(
    a_owner bigint, a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea
) RETURNS SETOF segue.sessions LANGUAGE sql STABLE AS $$
    SELECT * FROM segue.newest_here(
        a_owner, a_places, a_common_dirs, a_repository, a_machine, true, NULL,
        9223372036854775807, 9223372036854775807, 2147483647
    )
$$;

-- The newest session of each checkout of a repository on a machine, of at most a_limit.
CREATE FUNCTION segue_1.find_checkouts(
    a_owner bigint, a_repository bytea, a_machine bytea, a_limit integer
) RETURNS SETOF segue.sessions
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE root bytea := '';
BEGIN
    PERFORM segue.check_owner(a_owner);
    FOR i IN 1 .. a_limit LOOP
        root := (
            SELECT s.at_git_root FROM segue.sessions s
            WHERE s.owner = a_owner AND s.at_repository = a_repository
                AND s.at_repository IS NOT NULL AND s.machine = a_machine
                AND s.worktree IS NULL AND s.at_git_root IS NOT NULL AND s.at_git_root > root
            ORDER BY s.at_git_root LIMIT 1
        );
        EXIT WHEN root IS NULL;
        RETURN QUERY SELECT s.* FROM segue.sessions s
            WHERE s.owner = a_owner AND s.at_git_root = root AND s.at_git_root IS NOT NULL
                AND s.archived_at IS NULL AND s.model_visible
            ORDER BY s.recent DESC, s.updated_at DESC, s.number DESC LIMIT 1;
    END LOOP;
END $$;

-- The places of at most a_limit sessions of a machine that are a folder or below it; they are locked.
CREATE FUNCTION segue_1.places_below(
    a_owner bigint, a_machine bytea, a_folder text, a_below text, a_limit integer
) RETURNS TABLE (number bigint, directory text, git_root text, git_common_dir text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Behind all that begins with a_below.
    ends CONSTANT text := left(a_below, -1) || chr(ascii(right(a_below, 1)) + 1);
    found bigint[];
BEGIN
    PERFORM segue.begin_write(a_owner);
    found := ARRAY(
        SELECT DISTINCT f.number FROM (
            SELECT s.number FROM segue.sessions s
            WHERE s.owner = a_owner AND s.machine = a_machine
                AND octet_length(s.directory) <= 2000 AND s.directory = a_folder
            UNION ALL
            SELECT s.number FROM segue.sessions s
            WHERE s.owner = a_owner AND s.machine = a_machine
                AND octet_length(s.directory) <= 2000
                AND s.directory >= a_below AND s.directory < ends
            UNION ALL
            SELECT s.number FROM segue.sessions s
            WHERE s.owner = a_owner AND s.machine = a_machine
                AND octet_length(s.git_common_dir) <= 2000
                AND starts_with(s.git_common_dir, s.git_root || '/') IS NOT TRUE
                AND s.git_common_dir = a_folder
            UNION ALL
            SELECT s.number FROM segue.sessions s
            WHERE s.owner = a_owner AND s.machine = a_machine
                AND octet_length(s.git_common_dir) <= 2000
                AND starts_with(s.git_common_dir, s.git_root || '/') IS NOT TRUE
                AND s.git_common_dir >= a_below AND s.git_common_dir < ends
            UNION ALL
            SELECT s.number FROM segue.sessions s
            WHERE s.owner = a_owner AND s.machine = a_machine
                AND (octet_length(s.directory) > 2000 OR octet_length(s.git_common_dir) > 2000)
                AND (s.directory = a_folder OR starts_with(s.directory, a_below)
                    OR s.git_common_dir = a_folder OR starts_with(s.git_common_dir, a_below))
            LIMIT a_limit
        ) f ORDER BY f.number
    );
    -- As in `prompted_here`: with `=` they might be joined with all sessions.
    RETURN QUERY SELECT f.* FROM unnest(found) AS g (number) CROSS JOIN LATERAL (
        SELECT s.number, s.directory, s.git_root, s.git_common_dir FROM segue.sessions s
        WHERE s.owner = a_owner AND s.number >= g.number ORDER BY s.number LIMIT 1
        FOR NO KEY UPDATE
    ) f WHERE f.number = g.number;
END $$;

-- Give sessions new places.
CREATE FUNCTION segue_1.move_sessions(
    a_owner bigint, a_numbers bigint[], a_directories text[], a_git_roots text[],
    a_common_dirs text[], a_at_directories bytea[], a_at_git_roots bytea[],
    a_at_common_dirs bytea[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.begin_write(a_owner);
    -- One by one: together they might be joined with all sessions of the account.
    FOR i IN 1 .. cardinality(a_numbers) LOOP
        UPDATE segue.sessions s SET
            directory = a_directories[i], git_root = a_git_roots[i],
            git_common_dir = a_common_dirs[i], at_directory = a_at_directories[i],
            at_git_root = a_at_git_roots[i], at_git_common_dir = a_at_common_dirs[i]
        WHERE s.owner = a_owner AND s.number = a_numbers[i];
    END LOOP;
END $$;

-- A session's row ---------------------------------------------------------------------------------

CREATE FUNCTION segue_1.set_title(a_owner bigint, a_session bytea, a_title text)
RETURNS SETOF segue.sessions
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE revision CONSTANT text := segue.revision();
BEGIN
    PERFORM segue.begin_write(a_owner);
    RETURN QUERY UPDATE segue.sessions s SET
        given_title = a_title, revisions = segue.revised(s.revisions, 'title', revision)
        WHERE s.owner = a_owner AND s.id = a_session RETURNING s.*;
END $$;

CREATE FUNCTION segue_1.set_server_session_id(a_owner bigint, a_session bytea, a_value text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE revision CONSTANT text := segue.revision();
BEGIN
    PERFORM segue.begin_write(a_owner);
    UPDATE segue.sessions s SET
        server_session_id = a_value, revisions = segue.revised(s.revisions, 'server', revision)
        WHERE s.owner = a_owner AND s.id = a_session;
    RETURN FOUND;
END $$;

CREATE FUNCTION segue_1.archive(a_owner bigint, a_session bytea, a_archived boolean)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at CONSTANT bigint := segue.clock();
    revision CONSTANT text := segue.revision();
BEGIN
    PERFORM segue.begin_write(a_owner);
    UPDATE segue.sessions s SET
        archived_at = CASE WHEN a_archived THEN coalesce(s.archived_at, at) END,
        revisions = segue.revised(s.revisions, 'archive', revision)
        WHERE s.owner = a_owner AND s.id = a_session;
    RETURN FOUND;
END $$;

CREATE FUNCTION segue_1.get_metadata(a_owner bigint, a_session bytea, a_key text)
RETURNS TABLE (value text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT (
        SELECT m.value FROM segue.metadata m
        WHERE m.owner = a_owner AND m.session = s.number AND m.key = a_key
    ) FROM segue.sessions s WHERE s.owner = a_owner AND s.id = a_session;
END $$;

-- The values under a key by the sessions' ids; with `a_source` only those of its imports.
CREATE FUNCTION segue_1.find_metadata(
    a_owner bigint, a_key text, a_source text, a_session bytea
) RETURNS TABLE (id bytea, value text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    IF a_session IS NOT NULL THEN
        RETURN QUERY SELECT s.id, m.value FROM segue.sessions s
            JOIN segue.metadata m ON m.owner = a_owner AND m.session = s.number AND m.key = a_key
            WHERE s.owner = a_owner AND s.id = a_session
                AND coalesce(s.source, a_source) = a_source;
    ELSE
        RETURN QUERY SELECT f.id, m.value FROM segue.metadata m CROSS JOIN LATERAL (
            SELECT s.id, s.source FROM segue.sessions s
            WHERE s.owner = a_owner AND s.number = m.session AND NOT s.is_stub LIMIT 1
        ) f
        WHERE m.owner = a_owner AND m.key = a_key
            AND (a_source IS NULL OR coalesce(f.source, a_source) = a_source);
    END IF;
END $$;

-- Store the value, or with null remove it; a local one is told to no other store.
CREATE FUNCTION segue_1.set_metadata(
    a_owner bigint, a_session bytea, a_key text, a_value text, a_names bytea[], a_is_local boolean
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n bigint;
    revision CONSTANT text := segue.revision();
BEGIN
    PERFORM segue.begin_write(a_owner);
    SELECT s.number INTO n FROM segue.sessions s WHERE s.owner = a_owner AND s.id = a_session
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN false; END IF;
    IF a_value IS NULL THEN
        DELETE FROM segue.metadata m WHERE m.owner = a_owner AND m.session = n AND m.key = a_key;
    ELSE
        INSERT INTO segue.metadata (owner, session, key, value, names)
        VALUES (a_owner, n, a_key, a_value, a_names)
        ON CONFLICT (owner, session, key)
            DO UPDATE SET value = excluded.value, names = excluded.names;
    END IF;
    IF NOT a_is_local THEN
        UPDATE segue.sessions s SET
            revisions = segue.revised(s.revisions, 'metadata/' || a_key, revision)
        WHERE s.owner = a_owner AND s.number = n;
    END IF;
    RETURN true;
END $$;

-- Forks -------------------------------------------------------------------------------------------

-- The original, the fork if it exists, the seq of an event, and how many forks there are to 99.
CREATE FUNCTION segue_1.fork_facts(a_owner bigint, a_session bytea, a_fork bytea, a_at bytea)
RETURNS TABLE (session segue.sessions, fork segue.sessions, seq integer, forks bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s segue.sessions; f segue.sessions; at_seq integer;
BEGIN
    PERFORM segue.check_owner(a_owner);
    SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session;
    IF NOT FOUND THEN SELECT (g.session).* INTO s FROM segue.find_shared(a_session) g; END IF;
    SELECT u.* INTO f FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_fork;
    -- By statements of its own, because Citus nests no query in another one.
    IF a_at IS NULL THEN
        at_seq := s.event_count;
    ELSIF s.owner <> a_owner THEN
        SELECT e.seq INTO at_seq FROM segue.shared_events(a_session) e WHERE e.id = a_at;
    ELSE
        SELECT e.seq INTO at_seq
        FROM segue.find_events(a_owner, s.number, s.fork_seq, ARRAY[a_at]) e LIMIT 1;
    END IF;
    RETURN QUERY SELECT CASE WHEN s.number IS NOT NULL THEN s END,
        CASE WHEN f.number IS NOT NULL THEN f END, at_seq, (
        SELECT count(*) FROM (
            SELECT 1 FROM segue.sessions u
            WHERE u.owner = a_owner AND u.forked_from = a_session LIMIT 99
        ) x
    );
END $$;

-- Store the fork, unless it exists, and return it; nothing if the original does not exist. Of what
-- another account shares, the events are copied: a fork needs nobody else.
CREATE FUNCTION segue_1.fork(
    a_owner bigint, a_session bytea, a_fork bytea, a_seq integer, a_title text, a_given_title text,
    a_archive boolean, a_updated_at bigint,
    a_directory text, a_git_root text, a_git_common_dir text, a_repository text, a_worktree text,
    a_machine_name text, a_machine bytea,
    a_at_directory bytea, a_at_git_root bytea, a_at_git_common_dir bytea, a_at_repository bytea
) RETURNS SETOF segue.sessions
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at bigint;
    s segue.sessions;
    is_here CONSTANT boolean := a_directory IS NULL;
    is_shared boolean := false;
    new_number bigint;
    strands segue_1.strand[];
    last_strand bigint;
    revision CONSTANT text := segue.revision();
    copied integer;
BEGIN
    PERFORM segue.begin_write(a_owner);
    at := segue.clock();
    SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session
        FOR NO KEY UPDATE;
    IF FOUND THEN
        strands := ARRAY(
            SELECT p FROM segue.strands(a_owner, s.number, s.fork_seq, s.event_count) p
            WHERE p.after < a_seq
        );
        last_strand := strands[cardinality(strands)].strand;
    ELSE
        SELECT (g.session).* INTO s FROM segue.find_shared(a_session) g;
        IF NOT FOUND THEN RETURN; END IF;
        is_shared := true;
        s.source := NULL;   -- the program that it was had in is not here
    END IF;
    INSERT INTO segue.sessions (
        owner, id, directory, git_root, git_common_dir, repository, worktree, machine_name,
        machine, at_directory, at_git_root, at_git_common_dir, at_repository, title, given_title,
        forked_from, fork_seq, forked_at, title_seq, visible_seq, model_visible, source, client, agent, model, branch, event_count,
        head, created_at, updated_at, recent, prompted
    ) SELECT
        a_owner, a_fork, coalesce(a_directory, s.directory),
        CASE WHEN is_here THEN s.git_root ELSE a_git_root END,
        CASE WHEN is_here THEN s.git_common_dir ELSE a_git_common_dir END,
        CASE WHEN is_here THEN s.repository ELSE a_repository END,
        CASE WHEN is_here THEN s.worktree ELSE a_worktree END,
        CASE WHEN is_here THEN s.machine_name ELSE a_machine_name END,
        CASE WHEN is_here THEN s.machine ELSE a_machine END,
        CASE WHEN is_here THEN s.at_directory ELSE a_at_directory END,
        CASE WHEN is_here THEN s.at_git_root ELSE a_at_git_root END,
        CASE WHEN is_here THEN s.at_git_common_dir ELSE a_at_git_common_dir END,
        CASE WHEN is_here THEN s.at_repository ELSE a_at_repository END,
        a_title, a_given_title, a_session, CASE WHEN is_shared THEN 0 ELSE a_seq END,
        CASE WHEN is_shared THEN a_seq END,
        CASE WHEN s.title_seq <= a_seq THEN s.title_seq END,
        CASE WHEN s.visible_seq <= a_seq THEN s.visible_seq END,
        s.model_visible AND coalesce(s.visible_seq <= a_seq, false),
        s.source, s.client, s.agent, s.model, CASE WHEN is_here THEN s.branch END, a_seq,
        (SELECT e.id FROM segue.events e
            WHERE e.owner = a_owner AND e.session = last_strand AND e.seq >= a_seq
            ORDER BY e.seq LIMIT 1),
        at, coalesce(a_updated_at, at), segue.minutes(coalesce(a_updated_at, at)),
        segue.minutes(at)
    ON CONFLICT (owner, id) DO NOTHING RETURNING number INTO new_number;
    IF new_number IS NOT NULL AND is_shared THEN
        WITH written AS (
            INSERT INTO segue.events (created_at, session, owner, seq, id, invocation, type, data)
            SELECT e.created_at, new_number, a_owner, e.seq, e.id, e.invocation, e.type, e.data
            FROM segue.shared_events(a_session) e WHERE e.seq <= a_seq
            RETURNING 1
        ) SELECT count(*) INTO copied FROM written;
        IF copied <> a_seq THEN
            RAISE serialization_failure USING MESSAGE = 'it was deleted or revoked meanwhile';
        END IF;
        UPDATE segue.sessions u SET head = (
            SELECT e.id FROM segue.events e
            WHERE e.owner = a_owner AND e.session = new_number AND e.seq = a_seq
        ) WHERE u.owner = a_owner AND u.number = new_number;
        INSERT INTO segue.invocations (owner, session, id, client_name, client_version)
        SELECT a_owner, new_number, i.id, i.client_name, i.client_version
        FROM segue.shared_invocations(a_session) i WHERE EXISTS (
            SELECT 1 FROM segue.events e
            WHERE e.owner = a_owner AND e.session = new_number AND e.invocation = i.id
        );
    ELSIF new_number IS NOT NULL THEN
        INSERT INTO segue.spans (owner, session, last, strand)
        SELECT a_owner, new_number, least(p.last, a_seq), p.strand FROM unnest(strands) p;
        IF a_archive THEN
            UPDATE segue.sessions u SET
                archived_at = coalesce(u.archived_at, at),
                revisions = segue.revised(u.revisions, 'archive', revision)
                WHERE u.owner = a_owner AND u.number = s.number;
        END IF;
    END IF;
    RETURN QUERY SELECT u.* FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_fork;
END $$;

-- Deleting ----------------------------------------------------------------------------------------

-- Drop every shard of the index of searches that has an event of a session: its bits cannot be told
-- from those of others, whose events are indexed again later. The session is locked, so that no
-- shard with it is finished meanwhile.
CREATE FUNCTION segue.forget_search(a_owner bigint, a_number bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    dropped CONSTANT integer[] := ARRAY(
        SELECT DISTINCT r.shard FROM segue.search_runs r
        WHERE r.owner = a_owner AND r.session = a_number
    );
BEGIN
    IF cardinality(dropped) = 0 THEN RETURN; END IF;
    PERFORM 1 FROM segue.search_shards h
        WHERE h.owner = a_owner AND h.number = ANY (dropped) ORDER BY h.number FOR UPDATE;
    DELETE FROM segue.search_trigrams t WHERE t.owner = a_owner AND t.shard = ANY (dropped);
    DELETE FROM segue.search_runs r WHERE r.owner = a_owner AND r.shard = ANY (dropped);
    DELETE FROM segue.search_shards h WHERE h.owner = a_owner AND h.number = ANY (dropped);
END $$;

CREATE FUNCTION segue.forget_origin(a_owner bigint, a_number bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE segue.sessions f SET forked_from = NULL
    WHERE f.owner = a_owner AND f.forked_from = (
        SELECT s.id FROM segue.sessions s WHERE s.owner = a_owner AND s.number = a_number
    );
END $$;

-- Delete a session but for the events that forks have. The events that only it had in common with a
-- stub go with it. Forks are locked before what they are forks of, so that two that are deleted at
-- once do not wait for each other; and a row before its spans are counted, or each of the two would
-- leave what they shared to the other.
CREATE FUNCTION segue.delete_session(a_owner bigint, a_number bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    due bigint[] := ARRAY[a_number];
    n bigint;
    shared integer;
    strands bigint[];
    strand record;
BEGIN
    PERFORM segue.forget_origin(a_owner, a_number);
    PERFORM 1 FROM segue.sessions s WHERE s.owner = a_owner AND s.number = a_number FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM segue.forget_origin(a_owner, a_number);  -- of forks that were made meanwhile
    PERFORM segue.bury(a_owner, a_number);
    WHILE cardinality(due) > 0 LOOP
        n := due[1];
        due := due[2:];
        PERFORM segue.forget_search(a_owner, n);
        SELECT max(p.last) INTO shared FROM segue.spans p
            WHERE p.owner = a_owner AND p.strand = n;
        IF shared IS NOT NULL THEN
            DELETE FROM segue.events e
                WHERE e.owner = a_owner AND e.session = n AND e.seq > shared;
            DELETE FROM segue.invocations i
                WHERE i.owner = a_owner AND i.session = n AND NOT EXISTS (
                    SELECT 1 FROM segue.events e
                    WHERE e.owner = a_owner AND e.session = n AND e.invocation = i.id
                );
            DELETE FROM segue.metadata m WHERE m.owner = a_owner AND m.session = n;
            UPDATE segue.sessions s SET
                id = '\x02' || int8send(n), event_count = shared, is_stub = true, directory = '',
                at_directory = '', git_root = NULL, at_git_root = NULL, git_common_dir = NULL, at_git_common_dir = NULL,
                repository = NULL, at_repository = NULL, worktree = NULL, machine = '', machine_name = NULL,
                title = NULL, given_title = NULL, title_seq = NULL, server_session_id = NULL,
                forked_from = NULL, source = NULL, client = NULL, agent = NULL, model = NULL,
                branch = NULL, last_prompt_at = NULL, model_visible = false, visible_seq = NULL,
                head = NULL, head_invocation = NULL, archived_at = NULL, created_at = 0,
                updated_at = 0, recent = 0, prompted = 0, forked_at = NULL, revisions = NULL
            WHERE s.owner = a_owner AND s.number = n;
            CONTINUE;
        END IF;
        SELECT array_agg(DISTINCT p.strand) INTO strands FROM segue.spans p
            WHERE p.owner = a_owner AND p.session = n;
        DELETE FROM segue.spans p WHERE p.owner = a_owner AND p.session = n;
        DELETE FROM segue.events e WHERE e.owner = a_owner AND e.session = n;
        DELETE FROM segue.invocations i WHERE i.owner = a_owner AND i.session = n;
        DELETE FROM segue.metadata m WHERE m.owner = a_owner AND m.session = n;
        DELETE FROM segue.sessions s WHERE s.owner = a_owner AND s.number = n;
        FOR strand IN
            SELECT u.number, u.is_stub FROM segue.sessions u
            WHERE u.owner = a_owner AND u.number = ANY (strands)
            ORDER BY u.number DESC FOR UPDATE
        LOOP
            IF strand.is_stub THEN due := due || strand.number; END IF;
        END LOOP;
    END LOOP;
END $$;

-- Delete a session; or, without one, return who shares it.
CREATE FUNCTION segue_1.delete(a_owner bigint, a_session bytea) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE n bigint;
BEGIN
    PERFORM segue.begin_write(a_owner);
    SELECT s.number INTO n FROM segue.sessions s WHERE s.owner = a_owner AND s.id = a_session;
    IF NOT FOUND THEN RETURN segue_1.shared_by(a_owner, a_session); END IF;
    PERFORM segue.delete_session(a_owner, n);
    RETURN NULL;
END $$;

-- Importing, in one transaction -------------------------------------------------------------------

-- What an import has to know of a session, each kind of fact in rows of its own: deleted; session;
-- stored (of a_ids); prompt (stored ahead); records (of such prompts, as JSON); tail (the last
-- events, newest first); last_imported; foreign, and record: the last event that no import wrote,
-- and the last that is not such a prompt. With a_writes the session is locked until the commit.
CREATE TYPE segue_1.fact AS (
    kind text, id bytea, seq integer, created_at bigint, type text, data text,
    session segue.sessions
);

CREATE FUNCTION segue_1.import_facts(
    a_owner bigint, a_session bytea, a_ids bytea[], a_tail integer, a_writes boolean,
    a_revive boolean
) RETURNS SETOF segue_1.fact
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    importer CONSTANT bytea := '\x01' || convert_to('import', 'UTF8');
    first_prompt CONSTANT bytea := '\x01' || convert_to('prompt/', 'UTF8');
    last_prompt CONSTANT bytea := '\x01' || convert_to('prompt0', 'UTF8');
    s segue.sessions;
    f segue_1.fact;
    lowest integer;
BEGIN
    PERFORM segue.check_owner(a_owner);
    IF a_writes THEN PERFORM segue.begin_write(a_owner); END IF;
    IF a_writes AND a_revive THEN
        UPDATE segue.tombstones t SET generation = t.generation + 1
            WHERE t.owner = a_owner AND t.id = a_session AND t.generation % 2 = 1;
    ELSIF NOT a_revive AND EXISTS (
        SELECT 1 FROM segue.tombstones t WHERE t.owner = a_owner AND t.id = a_session
            AND t.generation % 2 = 1 AND t.is_imported
    ) THEN
        f.kind := 'deleted';
        RETURN NEXT f;
        RETURN;
    END IF;
    IF a_writes THEN
        SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session
            FOR NO KEY UPDATE;
    ELSE
        SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session;
    END IF;
    IF s.number IS NULL THEN RETURN; END IF;
    f.kind := 'session';
    f.session := s;
    RETURN NEXT f;
    -- Apart from the others, because Citus nests no query in another one.
    FOR f IN
        SELECT 'stored', a_ids[e.place], e.seq, NULL::bigint, NULL::text, NULL::text,
            NULL::segue.sessions
        FROM segue.find_events(a_owner, s.number, s.fork_seq, a_ids) e
    LOOP
        lowest := least(lowest, f.seq);
        RETURN NEXT f;
    END LOOP;
    FOR f IN
        (SELECT 'prompt', e.id, e.seq, e.created_at, e.type, e.data, NULL::segue.sessions
        FROM segue.events e WHERE e.owner = a_owner AND e.session = s.number
            AND e.id >= first_prompt AND e.id < last_prompt
        ORDER BY e.id LIMIT 2147483647)
        UNION ALL
        (SELECT 'last_imported', e.id, e.seq, NULL, NULL, NULL, NULL::segue.sessions
        FROM segue.events e WHERE e.owner = a_owner AND e.session = s.number
            AND e.invocation = importer
        ORDER BY e.seq DESC LIMIT 1)
    LOOP
        lowest := least(lowest, f.seq);
        RETURN NEXT f;
    END LOOP;
    RETURN QUERY SELECT 'foreign', NULL::bytea, (
        SELECT e.seq FROM segue.events e
        WHERE e.owner = a_owner AND e.session = s.number AND e.seq > lowest
            AND e.invocation <> importer
        ORDER BY e.seq DESC LIMIT 1
    ), NULL::bigint, NULL::text, NULL::text, NULL::segue.sessions;
    RETURN QUERY SELECT 'record', NULL::bytea, (
        SELECT e.seq FROM segue.events e
        WHERE e.owner = a_owner AND e.session = s.number AND e.seq > lowest
            AND NOT (e.id >= first_prompt AND e.id < last_prompt)
        ORDER BY e.seq DESC LIMIT 1
    ), NULL::bigint, NULL::text, NULL::text, NULL::segue.sessions;
    RETURN QUERY SELECT 'records', NULL::bytea, NULL::integer, NULL::bigint, NULL::text, m.value,
        NULL::segue.sessions
    FROM segue.metadata m
    WHERE m.owner = a_owner AND m.session = s.number AND m.key = 'prompts';
    RETURN QUERY SELECT 'tail', e.id, e.seq, e.created_at, e.type, e.data, NULL::segue.sessions
    FROM segue.events e WHERE e.owner = a_owner AND e.session = s.number
        AND e.seq <= s.event_count
    ORDER BY e.seq DESC LIMIT a_tail;
END $$;

-- Store a session that begins with an import: at a_at, or now if that is in the future.
CREATE FUNCTION segue_1.import_session(
    a_owner bigint, a_new segue_1.new_session, a_at bigint, a_keys text[], a_values text[],
    a_names bytea[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.begin_write(a_owner);
    PERFORM segue.insert_session(
        a_owner, a_new, least(a_at, segue.clock()), a_keys, a_values, a_names
    );
END $$;

-- Append imported events, which are all new, and whose places follow the last one.
CREATE FUNCTION segue_1.import_append(
    a_owner bigint, a_session bytea,
    a_ids bytea[], a_types text[], a_datas text[], a_times bigint[], a_by bytea[],
    a_invocations bytea[], a_names text[], a_versions text[],
    a_title text, a_title_place integer, a_visible_place integer,
    a_client text, a_agent text, a_model text, a_branch text
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at bigint;
    n CONSTANT integer := cardinality(a_ids);
    s segue.sessions;
    newest bigint;
    prompted_at bigint;
    revision CONSTANT text := segue.revision();
BEGIN
    PERFORM segue.begin_write(a_owner);
    at := segue.clock();
    SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session
        FOR NO KEY UPDATE;
    INSERT INTO segue.events (created_at, session, owner, seq, id, invocation, type, data)
    SELECT least(g.created_at, at), s.number, a_owner, s.event_count + g.place, g.id, g.writer, g.type,
        g.data
    FROM unnest(a_ids, a_types, a_datas, a_times, a_by)
        WITH ORDINALITY AS g (id, type, data, created_at, writer, place);
    PERFORM segue.add_invocation(a_owner, s.number, g.id, g.name, g.version)
        FROM unnest(a_invocations, a_names, a_versions) AS g (id, name, version);
    SELECT max(least(g.created_at, at)) INTO newest FROM unnest(a_times) AS g (created_at);
    SELECT least(g.created_at, at) INTO prompted_at
        FROM unnest(a_types, a_times) WITH ORDINALITY AS g (type, created_at, place)
        WHERE g.type = 'user_message' ORDER BY g.place DESC LIMIT 1;
    prompted_at := coalesce(prompted_at, s.last_prompt_at);
    newest := greatest(s.updated_at, newest);
    IF a_title IS NOT NULL AND a_title IS DISTINCT FROM s.title AND s.event_count > 0 THEN
        s.revisions := segue.revised(s.revisions, 'automatic', revision);
    END IF;
    UPDATE segue.sessions u SET
        event_count = u.event_count + n,
        head = CASE WHEN n > 0 THEN a_ids[n] ELSE u.head END,
        head_invocation = CASE WHEN n > 0 THEN a_by[n] ELSE u.head_invocation END,
        updated_at = newest, recent = segue.minutes(newest),
        last_prompt_at = prompted_at,
        prompted = segue.minutes(coalesce(prompted_at, u.created_at)),
        title = coalesce(a_title, u.title),
        title_seq = coalesce(u.title_seq, u.event_count + a_title_place),
        visible_seq = coalesce(u.visible_seq, u.event_count + a_visible_place),
        client = coalesce(a_client, u.client), agent = coalesce(a_agent, u.agent),
        model = coalesce(a_model, u.model), branch = coalesce(a_branch, u.branch),
        revisions = s.revisions
    WHERE u.owner = a_owner AND u.number = s.number;
END $$;

-- What differs after any commit that writes. No write has to count for it; but it may differ after
-- one of another account, too.
CREATE FUNCTION segue_1.change_mark() RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN pg_current_snapshot()::text;
END $$;

-- Holding and pruning -----------------------------------------------------------------------------

CREATE FUNCTION segue_1.hold(a_owner bigint, a_session bytea) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE key CONSTANT bigint := segue.hold_key(a_owner, a_session);
BEGIN
    PERFORM segue.check_owner(a_owner);
    PERFORM pg_advisory_lock_shared(key);
    RETURN key;
END $$;

CREATE FUNCTION segue_1.release(a_owner bigint, a_session bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN pg_advisory_unlock_shared(segue.hold_key(a_owner, a_session));
END $$;

CREATE FUNCTION segue_1.held(a_owner bigint, a_sessions bytea[]) RETURNS TABLE (id bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE held CONSTANT bigint[] := segue.held_keys();
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT g.id FROM unnest(a_sessions) AS g (id)
        WHERE segue.hold_key(a_owner, g.id) = ANY (held);
END $$;

-- The sessions that are old enough, the least recently updated first; and before them, without a
-- session, until when they were, and how many others there are of which kind.
CREATE FUNCTION segue_1.due(a_owner bigint, a_older_than bigint, a_live boolean)
RETURNS TABLE (until bigint, live bigint, used bigint, recent bigint, session segue.sessions)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE oldest CONSTANT bigint := segue.clock() - a_older_than;
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT oldest,
        count(*) FILTER (WHERE s.archived_at IS NULL AND s.updated_at <= oldest),
        count(*) FILTER (WHERE s.archived_at IS NULL AND s.updated_at > oldest),
        count(*) FILTER (WHERE s.archived_at > oldest),
        NULL::segue.sessions
    FROM segue.sessions s WHERE s.owner = a_owner AND NOT s.is_stub;
    RETURN QUERY SELECT NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, s
    FROM segue.sessions s WHERE s.owner = a_owner AND NOT s.is_stub
        AND coalesce(s.archived_at, CASE WHEN a_live THEN s.updated_at END) <= oldest
    ORDER BY s.updated_at, s.number;
END $$;

-- How many bytes of JSON the events have that are deleted with a session, as if those of a_deleted
-- were deleted before.
CREATE FUNCTION segue.own_size(a_owner bigint, a_number bigint, a_deleted bigint[]) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(sum(octet_length(e.data)), 0) FROM (
            SELECT a_number AS strand, 2147483647 AS last
            UNION ALL
            SELECT p.strand, p.last FROM segue.spans p
            JOIN segue.sessions t ON t.owner = a_owner AND t.number = p.strand
            WHERE p.owner = a_owner AND p.session = a_number
                AND (t.is_stub OR t.number = ANY (a_deleted))
        ) g
        JOIN segue.events e ON e.owner = a_owner AND e.session = g.strand AND e.seq <= g.last
        WHERE e.seq > coalesce((
            SELECT max(p.last) FROM segue.spans p
            JOIN segue.sessions u ON u.owner = a_owner AND u.number = p.session
            WHERE p.owner = a_owner AND p.strand = g.strand AND NOT u.is_stub
                AND u.number <> a_number AND NOT u.number = ANY (a_deleted)
        ), 0)
    );
END $$;

-- Delete those sessions that are due and that nobody holds, and return their ids and sizes; those that
-- are held have no size.
CREATE FUNCTION segue_1.prune(
    a_owner bigint, a_sessions bytea[], a_until bigint, a_live boolean,
    a_mine bytea[],          -- held by the caller, whose own locks do not hinder it
    a_unused_since bigint,   -- those that were updated later are held: locks cannot tell
    a_dry_run boolean, a_deleted bigint[]
) RETURNS TABLE (size bigint, id bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s segue.sessions;
BEGIN
    PERFORM segue.begin_write(a_owner);
    FOREACH id IN ARRAY a_sessions LOOP
        size := NULL;
        IF prune.id = ANY (a_mine) OR NOT pg_try_advisory_xact_lock(segue.hold_key(a_owner, prune.id)) THEN
            SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = prune.id;
            CONTINUE WHEN NOT FOUND;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF a_dry_run THEN
            SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = prune.id;
        ELSE
            SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = prune.id
                FOR UPDATE;
        END IF;
        CONTINUE WHEN s.number IS NULL OR NOT coalesce(
            coalesce(s.archived_at, CASE WHEN a_live THEN s.updated_at END) <= a_until, false
        );
        IF s.updated_at >= a_unused_since THEN
            RETURN NEXT;
            CONTINUE;
        END IF;
        size := segue.own_size(a_owner, s.number, a_deleted);
        RETURN NEXT;
        IF a_dry_run THEN
            a_deleted := a_deleted || s.number;
        ELSE
            PERFORM segue.delete_session(a_owner, s.number);
        END IF;
    END LOOP;
END $$;

-- Searching ---------------------------------------------------------------------------------------

-- Whether a search looks into a session. It is given the row of a subquery, because that of a table
-- has the type of a shard on Citus.
CREATE FUNCTION segue.is_admitted(
    s segue.sessions, a_session bytea, a_archived boolean, a_sources text[],
    a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT NOT s.is_stub AND (a_session IS NULL OR s.id = a_session)
        AND (a_archived OR s.archived_at IS NULL OR s.id IS NOT DISTINCT FROM a_session)
        AND (a_sources IS NULL OR coalesce(s.source = ANY (a_sources), false))
        AND (a_places IS NULL OR coalesce(
            s.at_directory = ANY (a_places) OR s.at_git_common_dir = ANY (a_common_dirs)
            OR (s.at_git_root = ANY (a_places) AND s.archived_at IS NULL AND s.model_visible)
            OR (s.at_repository = a_repository AND s.machine <> a_machine),
            false
        ))
$$;

-- What may match, in the order of a search, from a position on: rows of the kinds session, title
-- and event, the session before what is in it. The last row says where this ended: at the end, or
-- `later`, before what has a seq below `seq` in a session, because it is enough or time is up.
--
-- What may match has all of a_patterns, or a character beyond ASCII, whose forms only the caller
-- knows; with a_folds only the latter. With a_trigrams, what is indexed must also have all of these;
-- then no more than the next 4,096 sessions are looked at.
CREATE FUNCTION segue_1.search(
    a_owner bigint, a_patterns text[], a_title_patterns text[], a_folds boolean,
    a_places bytea[], a_common_dirs bytea[], a_repository bytea, a_machine bytea,
    a_session bytea, a_archived boolean, a_types text[],
    a_sources text[], a_updated_at bigint, a_number bigint, a_seq bigint,
    a_limit integer, a_bytes bigint, a_milliseconds double precision,
    a_trigrams integer[]
) RETURNS TABLE (
    kind text, updated_at bigint, number bigint, seq bigint, id bytea, created_at bigint,
    type text, data text, session segue.sessions
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    title_seq CONSTANT bigint := 4294967296;
    part CONSTANT integer := 256;
    ends CONSTANT timestamptz := clock_timestamp() + a_milliseconds * interval '1 millisecond';
    walk refcursor;
    s segue.sessions; p record; e record;
    below bigint; top bigint;
    has_begun boolean := false; is_named boolean;
    found_count integer := 0; found_bytes bigint := 0;
    shards integer[]; masks bit varying[];
    run segue.search_runs;
    mask bit varying;
    low bigint;
    is_indexed boolean;
    -- The walk ends above this session.
    stop_at bigint := -9223372036854775808; stop_number bigint := 0;
    has_stop boolean := false;
BEGIN
    PERFORM segue.check_owner(a_owner);
    is_indexed := a_trigrams IS NOT NULL AND EXISTS (
        SELECT 1 FROM segue.search_shards h WHERE h.owner = a_owner
    );
    IF is_indexed THEN
        SELECT array_agg(c.shard), array_agg(c.documents) INTO shards, masks FROM (
            SELECT h.number AS shard, bit_and(k.documents)::bit varying AS documents
            FROM segue.search_shards h
            CROSS JOIN unnest(a_trigrams) AS g (trigram)
            CROSS JOIN LATERAL (
                SELECT t.documents FROM segue.search_trigrams t
                WHERE t.owner = a_owner AND t.shard = h.number AND t.trigram = g.trigram LIMIT 1
            ) k
            WHERE h.owner = a_owner
            GROUP BY h.number HAVING count(*) = cardinality(a_trigrams)
        ) c WHERE bit_count(c.documents) > 0;
        IF a_places IS NULL THEN
            SELECT u.* INTO s FROM segue.sessions u
                WHERE u.owner = a_owner AND u.recent <= segue.minutes(a_updated_at)
                    AND (u.updated_at, u.number) <= (a_updated_at, a_number) AND NOT u.is_stub
                ORDER BY u.recent DESC, u.updated_at DESC, u.number DESC LIMIT 1 OFFSET 4096;
            IF FOUND THEN
                has_stop := true;
                stop_at := s.updated_at;
                stop_number := s.number;
            END IF;
        END IF;
    END IF;
    IF a_session IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session
    ) THEN
        kind := 'absent';
        RETURN NEXT;
        RETURN;
    END IF;
    -- Of a place all sessions are sorted; else they are walked along an index.
    IF a_places IS NULL THEN
        OPEN walk FOR SELECT u.* FROM (SELECT * FROM segue.sessions) u
            WHERE u.owner = a_owner AND u.recent <= segue.minutes(a_updated_at)
                AND (u.updated_at, u.number) <= (a_updated_at, a_number) AND NOT u.is_stub
                AND u.recent >= segue.minutes(stop_at)
                AND (u.updated_at, u.number) > (stop_at, stop_number)
                AND segue.is_admitted(
                    u::segue.sessions, a_session, a_archived, a_sources, NULL, NULL, NULL, a_machine
                )
            ORDER BY u.recent DESC, u.updated_at DESC, u.number DESC;
    ELSE
        OPEN walk FOR SELECT DISTINCT ON (h.updated_at, h.number) h.*
            FROM segue.all_here(
                a_owner, a_places, a_common_dirs, a_repository, a_machine
            ) h
            WHERE (h.updated_at, h.number) <= (a_updated_at, a_number)
                AND segue.is_admitted(
                    h, a_session, a_archived, a_sources, NULL, NULL, NULL, a_machine
                )
            ORDER BY h.updated_at DESC, h.number DESC;
    END IF;
    LOOP
        FETCH walk INTO s;
        EXIT WHEN NOT FOUND;
        below := CASE WHEN (s.updated_at, s.number) = (a_updated_at, a_number) THEN a_seq
            ELSE 9223372036854775807 END;
        is_named := false;
        updated_at := s.updated_at;
        number := s.number;
        IF below > title_seq THEN
            kind := 'later';
            seq := title_seq + 1;
            IF has_begun AND clock_timestamp() > ends THEN RETURN NEXT; RETURN; END IF;
            has_begun := true;
            IF a_types IS NULL AND (segue.may_match(
                coalesce(s.given_title, s.title), a_title_patterns, a_folds
            ) OR coalesce(s.given_title, s.title) ~ '[^ -~]') THEN
                is_named := true;
                kind := 'session'; session := s; RETURN NEXT;
                kind := 'title'; session := NULL; seq := title_seq; RETURN NEXT;
                found_count := found_count + 1;
            END IF;
        END IF;
        IF is_indexed AND s.fork_seq = 0 AND NOT segue.may_have(
            a_owner, s.number, s.event_count, shards, masks
        ) THEN
            CONTINUE;
        END IF;
        FOR p IN
            SELECT g.* FROM segue.strands(a_owner, s.number, s.fork_seq, s.event_count) g
            ORDER BY g.last DESC
        LOOP
            -- What is shared with a session that is searched is found there.
            CONTINUE WHEN p.strand <> s.number AND EXISTS (
                SELECT 1 FROM (SELECT * FROM segue.sessions) u
                WHERE u.owner = a_owner AND u.number = p.strand
                    AND segue.is_admitted(
                        u::segue.sessions, a_session, a_archived, a_sources, a_places,
                        a_common_dirs, a_repository, a_machine
                    )
            );
            top := least(p.last, below - 1);
            WHILE top > p.after LOOP
                kind := 'later'; id := NULL; data := NULL; type := NULL; created_at := NULL;
                seq := top + 1;
                IF found_count >= a_limit OR found_bytes >= a_bytes
                    OR has_begun AND clock_timestamp() > ends
                THEN
                    RETURN NEXT;
                    RETURN;
                END IF;
                low := greatest(top - part, p.after);
                mask := NULL;
                IF is_indexed THEN
                    SELECT r.* INTO run FROM segue.search_runs r
                        WHERE r.owner = a_owner AND r.session = p.strand AND r.first <= top
                        ORDER BY r.first DESC LIMIT 1;
                    IF run.first + run.length <= top THEN
                        low := greatest(low, run.first + run.length - 1);
                    ELSIF run.first IS NOT NULL THEN
                        low := greatest(run.first - 1, p.after);
                        mask := masks[array_position(shards, run.shard)];
                        IF coalesce(bit_count(substring(
                            mask FROM (run.document + low + 2 - run.first)::integer
                            FOR (top - low)::integer
                        )), 0) = 0 THEN
                            top := low;
                            CONTINUE;
                        END IF;
                        low := greatest(low, top - part);
                    END IF;
                END IF;
                has_begun := true;
                FOR e IN
                    SELECT x.* FROM segue.events x
                    WHERE x.owner = a_owner AND x.session = p.strand AND x.seq <= top
                        AND x.seq > low
                        AND (mask IS NULL
                            OR get_bit(mask, run.document + x.seq - run.first) = 1)
                        AND (a_types IS NULL OR x.type = ANY (a_types))
                        AND segue.may_match(x.data, a_patterns, a_folds)
                    ORDER BY x.seq DESC LIMIT part
                LOOP
                    CONTINUE WHEN p.strand <> s.number AND s.number IS DISTINCT FROM (
                        SELECT u.number FROM segue.spans q
                        JOIN (SELECT * FROM segue.sessions) u
                            ON u.owner = a_owner AND u.number = q.session
                        WHERE q.owner = a_owner AND q.strand = p.strand AND q.last >= e.seq
                            AND NOT EXISTS (
                                SELECT 1 FROM segue.spans b WHERE b.owner = a_owner
                                    AND b.session = q.session AND b.last < q.last
                                    AND b.last >= e.seq
                            )
                            AND segue.is_admitted(
                                u::segue.sessions, a_session, a_archived, a_sources, a_places,
                                a_common_dirs, a_repository, a_machine
                            )
                        ORDER BY u.updated_at DESC, u.number DESC LIMIT 1
                    );
                    IF NOT is_named THEN
                        is_named := true;
                        kind := 'session'; session := s; RETURN NEXT;
                        session := NULL;
                    END IF;
                    kind := 'event'; seq := e.seq; id := e.id; created_at := e.created_at;
                    type := e.type; data := e.data;
                    RETURN NEXT;
                    found_count := found_count + 1;
                    found_bytes := found_bytes + octet_length(e.data);
                    IF found_count >= a_limit OR found_bytes >= a_bytes THEN
                        kind := 'later'; id := NULL; data := NULL; type := NULL;
                        created_at := NULL;
                        RETURN NEXT;
                        RETURN;
                    END IF;
                END LOOP;
                top := low;
            END LOOP;
        END LOOP;
    END LOOP;
    kind := 'end';
    IF has_stop THEN
        kind := 'later'; updated_at := stop_at; number := stop_number; seq := 9223372036854775807;
    END IF;
    RETURN NEXT;
END $$;

-- Whether a session that is no fork has an event that is not indexed, or is among the documents of
-- the masks of some shards.
CREATE FUNCTION segue.may_have(
    a_owner bigint, a_number bigint, a_event_count integer, a_shards integer[],
    a_masks bit varying[]
) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(sum(r.length), 0) < a_event_count OR coalesce(bool_or(bit_count(substring(
            a_masks[array_position(a_shards, r.shard)] FROM r.document + 1 FOR r.length
        )) > 0), false)
        FROM segue.search_runs r WHERE r.owner = a_owner AND r.session = a_number
    );
END $$;

-- What is not indexed, of at most a_events events: those that were updated first are first.
CREATE FUNCTION segue_1.unindexed(a_owner bigint, a_events integer)
RETURNS TABLE (session bigint, first integer, last integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    events_left integer := a_events;
    s record; r record;
BEGIN
    PERFORM segue.check_owner(a_owner);
    FOR s IN
        SELECT u.number, u.fork_seq, u.event_count FROM segue.sessions u LEFT JOIN (
            SELECT k.session, sum(k.length) AS events FROM segue.search_runs k
            WHERE k.owner = a_owner GROUP BY k.session
        ) c ON c.session = u.number
        WHERE u.owner = a_owner AND u.event_count - u.fork_seq > coalesce(c.events, 0)
        ORDER BY u.updated_at, u.number
    LOOP
        session := s.number;
        first := s.fork_seq + 1;
        FOR r IN
            SELECT k.first, k.length FROM segue.search_runs k
            WHERE k.owner = a_owner AND k.session = s.number
            UNION ALL SELECT s.event_count + 1, 0 ORDER BY 1
        LOOP
            last := least(r.first - 1, first + events_left - 1);
            IF last >= first THEN
                RETURN NEXT;
                events_left := events_left - (last - first + 1);
                IF events_left = 0 THEN RETURN; END IF;
            END IF;
            first := r.first + r.length;
        END LOOP;
    END LOOP;
END $$;

-- The events of a session to be indexed, of at most about a_bytes.
CREATE FUNCTION segue_1.indexed_events(
    a_owner bigint, a_session bigint, a_first integer, a_last integer, a_bytes bigint
) RETURNS TABLE (seq integer, type text, data text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE bytes_left bigint := a_bytes;
BEGIN
    PERFORM segue.check_owner(a_owner);
    FOR seq, type, data IN
        SELECT e.seq, e.type, e.data FROM segue.events e
        WHERE e.owner = a_owner AND e.session = a_session AND e.seq >= a_first AND e.seq <= a_last
        ORDER BY e.seq LIMIT a_last - a_first + 1
    LOOP
        RETURN NEXT;
        bytes_left := bytes_left - octet_length(data);
        EXIT WHEN bytes_left < 0;
    END LOOP;
END $$;

-- A shard is stored by several calls in one transaction. Two at once would have the same number:
-- one of them fails. Who follows the account is not told: nothing is listed otherwise; and a shard
-- that a server loses is made again.
CREATE FUNCTION segue_1.begin_shard(a_owner bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE new_number integer;
BEGIN
    PERFORM segue.check_owner(a_owner);
    INSERT INTO segue.search_shards (owner, number)
    SELECT a_owner, coalesce(max(h.number), 0) + 1 FROM segue.search_shards h
        WHERE h.owner = a_owner
    RETURNING number INTO new_number;
    RETURN new_number;
END $$;

CREATE FUNCTION segue_1.add_trigrams(
    a_owner bigint, a_shard integer, a_trigrams integer[], a_documents bit varying[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    INSERT INTO segue.search_trigrams (owner, shard, trigram, documents)
    SELECT a_owner, a_shard, g.trigram, g.documents
    FROM unnest(a_trigrams, a_documents) AS g (trigram, documents);
END $$;

-- Store which events the documents are. False if some were deleted or indexed since they were read:
-- then the shard must not be kept.
CREATE FUNCTION segue_1.finish_shard(
    a_owner bigint, a_shard integer, a_sessions bigint[], a_firsts integer[], a_lengths integer[],
    a_documents integer[]
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    -- Who deletes one of them waits for this shard, or this waits for the deletion.
    PERFORM 1 FROM segue.sessions s WHERE s.owner = a_owner AND s.number = ANY (a_sessions)
        ORDER BY s.number DESC FOR KEY SHARE;
    INSERT INTO segue.search_runs (owner, session, first, length, shard, document)
    SELECT a_owner, g.session, g.first, g.length, a_shard, g.document
    FROM unnest(a_sessions, a_firsts, a_lengths, a_documents)
        AS g (session, first, length, document);
    RETURN NOT EXISTS (
        SELECT 1 FROM unnest(a_sessions, a_firsts, a_lengths) AS g (session, first, length)
        WHERE NOT EXISTS (
            SELECT 1 FROM segue.sessions s WHERE s.owner = a_owner AND s.number = g.session
                AND s.fork_seq < g.first AND s.event_count >= g.first + g.length - 1
        ) OR EXISTS (
            SELECT 1 FROM segue.search_runs r WHERE r.owner = a_owner AND r.session = g.session
                AND r.shard <> a_shard AND r.first < g.first + g.length
                AND r.first + r.length > g.first
        )
    );
END $$;

-- How many events are indexed.
CREATE FUNCTION segue_1.indexed(a_owner bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN (SELECT coalesce(sum(r.length), 0) FROM segue.search_runs r WHERE r.owner = a_owner);
END $$;

CREATE FUNCTION segue_1.drop_index(a_owner bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    PERFORM 1 FROM segue.search_shards h WHERE h.owner = a_owner ORDER BY h.number FOR UPDATE;
    DELETE FROM segue.search_trigrams t WHERE t.owner = a_owner;
    DELETE FROM segue.search_runs r WHERE r.owner = a_owner;
    DELETE FROM segue.search_shards h WHERE h.owner = a_owner;
END $$;

-- Whether escaped text, or ASCII JSON, may hold what is searched for.
CREATE FUNCTION segue.may_match(a_text text, a_patterns text[], a_folds boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT strpos(a_text, '\u') > 0
        OR NOT a_folds AND lower(a_text COLLATE "C") LIKE ALL (a_patterns)
$$;

-- Measuring ---------------------------------------------------------------------------------------

CREATE FUNCTION segue_1.sizes(a_owner bigint)
RETURNS TABLE (bytes bigint, sessions bigint, archived bigint, events bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT (
        SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
        WHERE c.relnamespace = 'segue'::regnamespace AND c.relkind IN ('r', 'p')
    ), (
        SELECT count(*) FROM segue.sessions s WHERE s.owner = a_owner AND NOT s.is_stub
    ), (
        SELECT count(*) FROM segue.sessions s
        WHERE s.owner = a_owner AND NOT s.is_stub AND s.archived_at IS NOT NULL
    ), (
        SELECT count(*) FROM segue.events e WHERE e.owner = a_owner
    );
END $$;

-- Every session; and without a session, the spans of those that are not stubs.
CREATE FUNCTION segue_1.all_sessions(a_owner bigint)
RETURNS TABLE (
    strand bigint, user_number bigint, last integer, session segue.sessions
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT NULL::bigint, NULL::bigint, NULL::integer, s
        FROM segue.sessions s WHERE s.owner = a_owner AND NOT s.is_stub ORDER BY s.number;
    RETURN QUERY SELECT p.strand, p.session, p.last, NULL::segue.sessions
        FROM segue.spans p JOIN segue.sessions u ON u.owner = a_owner AND u.number = p.session
        WHERE p.owner = a_owner AND NOT u.is_stub ORDER BY p.session;
END $$;

-- How many events sessions wrote, and the bytes of their JSON, of those above `after` up to `last`.
CREATE FUNCTION segue_1.event_sizes(
    a_owner bigint, a_numbers bigint[], a_after integer[], a_last integer[]
) RETURNS TABLE (events bigint, bytes bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT c.events, c.bytes
    FROM unnest(a_numbers, a_after, a_last) WITH ORDINALITY AS g (number, after, last, place)
    CROSS JOIN LATERAL (
        SELECT count(*) AS events, coalesce(sum(octet_length(e.data)), 0)::bigint AS bytes
        FROM segue.events e
        WHERE e.owner = a_owner AND e.session = g.number AND e.seq > g.after AND e.seq <= g.last
    ) c ORDER BY g.place;
END $$;

-- The sessions of which events are missing.
CREATE FUNCTION segue_1.check(a_owner bigint) RETURNS TABLE (id bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT s.id FROM segue.sessions s CROSS JOIN LATERAL (
        SELECT count(*) AS events, coalesce(min(e.seq), s.fork_seq + 1) AS first,
            coalesce(max(e.seq), s.fork_seq) AS last
        FROM segue.events e WHERE e.owner = a_owner AND e.session = s.number
    ) c WHERE s.owner = a_owner AND NOT s.is_stub AND (
        c.events <> s.event_count - s.fork_seq OR c.first <> s.fork_seq + 1
        OR c.last <> s.event_count
    ) ORDER BY s.number;
END $$;

-- The server's version, and the settings without which what was answered can be lost in a crash.
CREATE FUNCTION segue_1.engine() RETURNS TABLE (version text, fsync text, full_page_writes text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT current_setting('server_version'), current_setting('fsync'),
        current_setting('full_page_writes');
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA segue, segue_1 FROM PUBLIC;
GRANT USAGE ON SCHEMA segue_1 TO segue_user;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA segue_1 TO segue_user;
RESET ROLE;
RESET search_path;
