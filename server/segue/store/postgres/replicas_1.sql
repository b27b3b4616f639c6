-- Copies of sessions that are exchanged with other stores, and what every change notes for that.
SET ROLE segue_owner;
SET search_path = pg_catalog;

-- Noting ------------------------------------------------------------------------------------------

-- When a field gets a value: 15 digits of the time, and 8 random ones, because two machines may
-- change a field in the same millisecond.
CREATE FUNCTION segue.revision() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT lpad(segue.clock()::text, 15, '0') || left(gen_random_uuid()::text, 8)
$$;

-- The revisions of a session with one of a field, which becomes later than the one before.
CREATE FUNCTION segue.revised(a_revisions jsonb, a_field text, a_revision text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(a_revisions, '{}') || jsonb_build_object(a_field, CASE
        WHEN a_revisions ->> a_field ~ '^[0-9]{15}'
            AND left(a_revisions ->> a_field, 15) COLLATE "C" >= left(a_revision, 15) THEN
            lpad((left(a_revisions ->> a_field, 15)::bigint + 1)::text, 15, '0')
                || substr(a_revision, 16)
        ELSE a_revision
    END)
$$;

-- What stands for the id of an event in a tombstone: of its text, as other stores have it.
CREATE FUNCTION segue.digest(a_id bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(sha256(CASE
        WHEN get_byte(a_id, 0) = 0
            THEN convert_to(encode(substr(a_id, 2), 'hex')::uuid::text, 'UTF8')
        ELSE substr(a_id, 2)
    END), 1, 6)
$$;

-- Keep the tombstone of a session that is about to be deleted, and one of each conversation that its
-- metadata names. A session that lives although its generation is odd was created again. Of a fork
-- it has no events that the original has, too.
CREATE FUNCTION segue.bury(a_owner bigint, a_number bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    s segue.sessions;
    strands segue_1.strand[];
    found bytea;
BEGIN
    SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.number = a_number;
    strands := ARRAY(
        SELECT p FROM segue.strands(a_owner, s.number, s.fork_seq, s.event_count) p
    );
    SELECT string_agg(d.digest, ''::bytea ORDER BY d.digest) INTO found FROM (
        SELECT DISTINCT segue.digest(e.id) AS digest
        FROM unnest(strands) p CROSS JOIN LATERAL (
            SELECT x.id FROM segue.events x
            WHERE x.owner = a_owner AND x.session = p.strand AND x.seq <= p.last
                AND x.seq > greatest(p.after, coalesce(s.forked_at, s.fork_seq))
            ORDER BY x.seq LIMIT p.last
        ) e
    ) d;
    INSERT INTO segue.tombstones AS t (owner, id, is_imported, events)
    VALUES (a_owner, s.id, s.source IS NOT NULL, coalesce(found, ''))
    ON CONFLICT (owner, id) DO UPDATE SET
        generation = t.generation + 1 + t.generation % 2,
        is_imported = excluded.is_imported, events = excluded.events;
    INSERT INTO segue.tombstones AS t (owner, id)
    SELECT DISTINCT a_owner, g.name FROM segue.metadata m CROSS JOIN unnest(m.names) AS g (name)
        WHERE m.owner = a_owner AND m.session = a_number
    ON CONFLICT (owner, id) DO UPDATE SET generation = t.generation | 1, is_imported = true;
END $$;

-- Reading -----------------------------------------------------------------------------------------

-- The versions of sessions, and of those that were deleted, in the order of the ids. A session that
-- lives although its generation is odd was created again: it has the next one.
CREATE FUNCTION segue_1.versions(a_owner bigint, a_after bytea, a_limit integer)
RETURNS TABLE (id bytea, generation integer, event_count integer, head bytea, revisions jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT v.* FROM (
        (SELECT s.id, coalesce((
            SELECT t.generation + t.generation % 2 FROM segue.tombstones t
            WHERE t.owner = a_owner AND t.id = s.id
        ), 0), s.event_count, s.head, s.revisions
        FROM segue.sessions s
        WHERE s.owner = a_owner AND s.id > a_after AND NOT s.is_stub ORDER BY s.id LIMIT a_limit)
        UNION ALL
        (SELECT t.id, t.generation, 0, NULL::bytea, NULL::jsonb FROM segue.tombstones t
        WHERE t.owner = a_owner AND t.id > a_after AND t.generation % 2 = 1 AND NOT EXISTS (
            SELECT 1 FROM segue.sessions s WHERE s.owner = a_owner AND s.id = t.id
        ) ORDER BY t.id LIMIT a_limit)
    ) v ORDER BY v.id LIMIT a_limit;
END $$;

-- A session with its generation and its metadata; or, without a session, its tombstone; or nothing.
CREATE FUNCTION segue_1.read_replica(a_owner bigint, a_session bytea)
RETURNS TABLE (
    generation integer, events bytea, is_imported boolean, keys text[], contents text[],
    session segue.sessions
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    RETURN QUERY SELECT coalesce((
            SELECT t.generation + t.generation % 2 FROM segue.tombstones t
            WHERE t.owner = a_owner AND t.id = a_session
        ), 0), NULL::bytea, NULL::boolean,
        (SELECT array_agg(m.key ORDER BY m.key) FROM segue.metadata m
            WHERE m.owner = a_owner AND m.session = s.number),
        (SELECT array_agg(m.value ORDER BY m.key) FROM segue.metadata m
            WHERE m.owner = a_owner AND m.session = s.number), s
    FROM segue.sessions s WHERE s.owner = a_owner AND s.id = a_session;
    IF FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT t.generation, coalesce(t.events, ''), t.is_imported, NULL::text[],
        NULL::text[], NULL::segue.sessions
    FROM segue.tombstones t
    WHERE t.owner = a_owner AND t.id = a_session AND t.generation % 2 = 1;
END $$;

-- Writing -----------------------------------------------------------------------------------------

-- Who writes a copy or a tombstone of an id waits for another who does: there may be no row to lock.
CREATE FUNCTION segue.lock_replica(a_owner bigint, a_session bytea) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(segue.hold_key(a_owner, '\x03' || a_session));
END $$;

CREATE TYPE segue_1.replica AS (
    id bytea, generation integer,
    machine bytea, machine_name text, directory text, git_root text, git_common_dir text,
    repository text, worktree text,
    at_directory bytea, at_git_root bytea, at_git_common_dir bytea, at_repository bytea,
    source text, created_at bigint,
    title text, model_visible boolean, client text, agent text, model text, branch text,
    updated_at bigint, last_prompt_at bigint,
    forked_from bytea, forked_at integer, given_title text, archived_at bigint,
    server_session_id text, revisions jsonb, keys text[], contents text[], names bytea[]
);

-- What a write came to: done, absent (deleted, or no session), head_moved, no_event, or held.
CREATE TYPE segue_1.replica_outcome AS (outcome text, head bytea, event_count integer);

-- Bring a session closer to its copy in another store; create it if it does not exist, then with the
-- events of its original up to a_parent, if that is given.
CREATE FUNCTION segue_1.write_replica(
    a_owner bigint, a_copy segue_1.replica, a_parent bytea,
    a_ids bytea[], a_types text[], a_datas text[], a_times bigint[], a_by bytea[],
    a_invocations bytea[], a_clients text[], a_versions text[],
    a_title_place integer,                               -- of the first event that gives a title
    a_visible_place integer                              -- of the first event that a model is sent
) RETURNS SETOF segue_1.replica_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s segue.sessions;        -- the session
    origin segue.sessions;   -- what it is to be a fork of
    o segue_1.replica_outcome;
    is_new boolean;
    seqs integer[];          -- of the events that are stored
    first_new bigint;
    added integer := 0;
    revised text[];          -- the fields of which the copy has a later value
    follows boolean;
    origin_id bytea;         -- the original, unless it was deleted
    new_title_seq integer; new_visible_seq integer;
BEGIN
    PERFORM segue.begin_write(a_owner);
    PERFORM segue.lock_replica(a_owner, a_copy.id);
    SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_copy.id
        FOR NO KEY UPDATE;
    is_new := s.number IS NULL;
    IF is_new AND EXISTS (
        SELECT 1 FROM segue.tombstones t WHERE t.owner = a_owner AND t.id = a_copy.id
            AND t.generation % 2 = 1 AND t.generation >= a_copy.generation
    ) THEN
        o.outcome := 'absent';
        RETURN NEXT o;
        RETURN;
    END IF;
    IF is_new AND a_parent IS NOT NULL THEN
        SELECT u.* INTO origin FROM segue.sessions u
            WHERE u.owner = a_owner AND u.id = a_copy.forked_from FOR NO KEY UPDATE;
        IF coalesce((
            SELECT e.seq <> a_copy.forked_at
            FROM segue.find_events(a_owner, origin.number, origin.fork_seq, ARRAY[a_parent]) e
        ), true) THEN
            o.outcome := 'no_event';
            RETURN NEXT o;
            RETURN;
        END IF;
        s.event_count := a_copy.forked_at;
        s.head := a_parent;
    END IF;

    SELECT array_agg(f.seq ORDER BY g.place) INTO seqs
    FROM unnest(a_ids) WITH ORDINALITY AS g (id, place)
    LEFT JOIN segue.find_events(
        a_owner, coalesce(s.number, origin.number), coalesce(s.fork_seq, origin.fork_seq), a_ids
    ) f ON f.place = g.place AND f.seq <= s.event_count;
    SELECT min(g.place) INTO first_new FROM unnest(seqs) WITH ORDINALITY AS g (seq, place)
        WHERE g.seq IS NULL;
    IF first_new IS NOT NULL
        AND s.head IS DISTINCT FROM
            (CASE WHEN first_new = 1 THEN a_parent ELSE a_ids[first_new - 1] END)
    THEN
        o.outcome := 'head_moved';
        o.head := s.head;
        o.event_count := coalesce(s.event_count, 0);
        RETURN NEXT o;
        RETURN;
    END IF;

    IF is_new THEN
        s := segue.insert_replica(a_owner, a_copy, origin);
        revised := ARRAY['title', 'automatic', 'archive', 'server', 'origin'];
    ELSE
        SELECT array_agg(r.key) INTO revised FROM jsonb_each_text(a_copy.revisions) r
            WHERE r.value COLLATE "C" > coalesce(s.revisions ->> r.key, '');
        PERFORM segue.revise_metadata(a_owner, s.number, a_copy, revised);
    END IF;
    IF a_copy.generation > 0 THEN
        INSERT INTO segue.tombstones AS t (owner, id, generation)
        VALUES (a_owner, a_copy.id, a_copy.generation)
        ON CONFLICT (owner, id)
            DO UPDATE SET generation = greatest(t.generation, excluded.generation);
    END IF;
    IF first_new IS NOT NULL THEN
        WITH written AS (
            INSERT INTO segue.events (created_at, session, owner, seq, id, invocation, type, data)
            SELECT g.created_at, s.number, a_owner,
                s.event_count + row_number() OVER (ORDER BY g.place), g.id, g.writer, g.type, g.data
            FROM unnest(a_ids, a_types, a_datas, a_times, a_by, seqs)
                WITH ORDINALITY AS g (id, type, data, created_at, writer, seq, place)
            WHERE g.seq IS NULL RETURNING seq, id, invocation
        )
        SELECT count(*), (array_agg(w.id ORDER BY w.seq DESC))[1],
            (array_agg(w.invocation ORDER BY w.seq DESC))[1]
            INTO added, s.head, s.head_invocation FROM written w;
        PERFORM segue.add_invocation(a_owner, s.number, g.id, g.name, g.version)
            FROM unnest(a_invocations, a_clients, a_versions) AS g (id, name, version);
        -- What is not the first of its kind here is not the first of the session, either.
        IF a_title_place IS NOT NULL AND seqs[a_title_place] IS NULL THEN
            SELECT s.event_count + count(*) INTO new_title_seq FROM unnest(seqs[:a_title_place]) AS g
                WHERE g IS NULL;
        END IF;
        IF a_visible_place IS NOT NULL AND seqs[a_visible_place] IS NULL THEN
            SELECT s.event_count + count(*) INTO new_visible_seq
                FROM unnest(seqs[:a_visible_place]) AS g WHERE g IS NULL;
        END IF;
    END IF;

    follows := is_new OR added > 0;
    origin_id := segue.origin_unless_deleted(a_owner, a_copy.forked_from);
    UPDATE segue.sessions u SET
        event_count = s.event_count + added, head = s.head, head_invocation = s.head_invocation,
        title_seq = coalesce(u.title_seq, new_title_seq),
        visible_seq = coalesce(u.visible_seq, new_visible_seq),
        title = CASE WHEN follows OR 'automatic' = ANY (revised) THEN a_copy.title
            ELSE u.title END,
        model_visible = CASE WHEN follows THEN a_copy.model_visible ELSE u.model_visible END,
        client = CASE WHEN follows THEN a_copy.client ELSE u.client END,
        agent = CASE WHEN follows THEN a_copy.agent ELSE u.agent END,
        model = CASE WHEN follows THEN a_copy.model ELSE u.model END,
        branch = CASE WHEN follows THEN a_copy.branch ELSE u.branch END,
        updated_at = CASE WHEN follows THEN a_copy.updated_at ELSE u.updated_at END,
        recent = CASE WHEN follows THEN segue.minutes(a_copy.updated_at) ELSE u.recent END,
        last_prompt_at = CASE WHEN follows THEN a_copy.last_prompt_at ELSE u.last_prompt_at END,
        prompted = CASE
            WHEN follows THEN segue.minutes(coalesce(a_copy.last_prompt_at, u.created_at))
            ELSE u.prompted END,
        given_title = CASE WHEN 'title' = ANY (revised) THEN a_copy.given_title
            ELSE u.given_title END,
        archived_at = CASE WHEN 'archive' = ANY (revised) THEN a_copy.archived_at
            ELSE u.archived_at END,
        server_session_id = CASE WHEN 'server' = ANY (revised) THEN a_copy.server_session_id
            ELSE u.server_session_id END,
        forked_from = CASE WHEN 'origin' = ANY (revised) THEN origin_id ELSE u.forked_from END,
        forked_at = CASE WHEN 'origin' = ANY (revised) THEN a_copy.forked_at
            ELSE u.forked_at END,
        revisions = CASE WHEN is_new THEN a_copy.revisions ELSE nullif(
            coalesce(u.revisions, '{}') || coalesce((
                SELECT jsonb_object_agg(r.key, r.value) FROM jsonb_each(a_copy.revisions) r
                WHERE r.key = ANY (revised)
            ), '{}'), '{}'
        ) END
    WHERE u.owner = a_owner AND u.number = s.number;
    o.outcome := 'done';
    RETURN NEXT o;
END $$;

-- Insert the row of a copy, its metadata, and what it shares with its original; return the row.
CREATE FUNCTION segue.insert_replica(
    a_owner bigint, a_copy segue_1.replica, a_origin segue.sessions
) RETURNS segue.sessions LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    s segue.sessions;
    shared CONSTANT integer := CASE WHEN a_origin.number IS NULL THEN 0 ELSE a_copy.forked_at END;
    strands CONSTANT segue_1.strand[] := ARRAY(
        SELECT p FROM segue.strands(
            a_owner, a_origin.number, a_origin.fork_seq, a_origin.event_count
        ) p WHERE p.after < shared
    );
BEGIN
    INSERT INTO segue.sessions AS u (
        owner, id, machine, machine_name, directory, git_root, git_common_dir, repository, worktree,
        at_directory, at_git_root, at_git_common_dir, at_repository, source, created_at, updated_at,
        recent, prompted, event_count, fork_seq, title_seq, visible_seq, head
    ) SELECT a_owner, a_copy.id, a_copy.machine, a_copy.machine_name, a_copy.directory,
        a_copy.git_root, a_copy.git_common_dir, a_copy.repository, a_copy.worktree,
        a_copy.at_directory, a_copy.at_git_root, a_copy.at_git_common_dir, a_copy.at_repository,
        a_copy.source, a_copy.created_at, a_copy.updated_at, 0, 0, shared, shared,
        CASE WHEN a_origin.title_seq <= shared THEN a_origin.title_seq END,
        CASE WHEN a_origin.visible_seq <= shared THEN a_origin.visible_seq END,
        CASE WHEN shared > 0 THEN (
            SELECT e.id FROM segue.events e
            WHERE e.owner = a_owner AND e.session = strands[cardinality(strands)].strand
                AND e.seq = shared
        ) END
    ON CONFLICT (owner, id) DO NOTHING RETURNING u.* INTO s;
    IF s.number IS NULL THEN
        RAISE serialization_failure USING MESSAGE = 'it was created meanwhile';
    END IF;
    IF shared > 0 THEN
        INSERT INTO segue.spans (owner, session, last, strand)
        SELECT a_owner, s.number, least(p.last, shared), p.strand FROM unnest(strands) p;
    END IF;
    INSERT INTO segue.metadata (owner, session, key, value, names)
    SELECT a_owner, s.number, g.key, g.value, CASE WHEN g.key = 'acp.agents' THEN a_copy.names END
    FROM unnest(a_copy.keys, a_copy.contents) AS g (key, value);
    RETURN s;
END $$;

CREATE FUNCTION segue.revise_metadata(
    a_owner bigint, a_number bigint, a_copy segue_1.replica, a_revised text[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM segue.metadata m
        WHERE m.owner = a_owner AND m.session = a_number AND 'metadata/' || m.key = ANY (a_revised);
    INSERT INTO segue.metadata (owner, session, key, value, names)
    SELECT a_owner, a_number, g.key, g.value, CASE WHEN g.key = 'acp.agents' THEN a_copy.names END
    FROM unnest(a_copy.keys, a_copy.contents) AS g (key, value)
    WHERE 'metadata/' || g.key = ANY (a_revised);
END $$;

-- What a session is a fork of, or null if that was deleted.
CREATE FUNCTION segue.origin_unless_deleted(a_owner bigint, a_origin bytea) RETURNS bytea
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE WHEN NOT EXISTS (
        SELECT 1 FROM segue.tombstones t
        WHERE t.owner = a_owner AND t.id = a_origin AND t.generation % 2 = 1
    ) THEN a_origin END;
END $$;

-- Lock a session that is to be deleted, or to get another id: forks before what they are forks of.
CREATE FUNCTION segue.lock_with_forks(a_owner bigint, a_session bytea) RETURNS segue.sessions
LANGUAGE plpgsql VOLATILE AS $$
DECLARE s segue.sessions;
BEGIN
    PERFORM 1 FROM segue.sessions f WHERE f.owner = a_owner AND f.forked_from = a_session
        ORDER BY f.number DESC FOR NO KEY UPDATE;
    SELECT u.* INTO s FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_session FOR UPDATE;
    RETURN s;
END $$;

-- Delete a session whose head is a_head, and keep the tombstone, unless there is a later one.
CREATE FUNCTION segue_1.write_tombstone(
    a_owner bigint, a_session bytea, a_generation integer, a_events bytea, a_is_imported boolean,
    a_head bytea
) RETURNS SETOF segue_1.replica_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s segue.sessions;
    o segue_1.replica_outcome;
BEGIN
    PERFORM segue.begin_write(a_owner);
    PERFORM segue.lock_replica(a_owner, a_session);
    s := segue.lock_with_forks(a_owner, a_session);
    IF s.head IS DISTINCT FROM a_head THEN
        o.outcome := 'head_moved';
        o.head := s.head;
        o.event_count := coalesce(s.event_count, 0);
        RETURN NEXT o;
        RETURN;
    END IF;
    IF s.number IS NOT NULL THEN PERFORM segue.delete_session(a_owner, s.number); END IF;
    INSERT INTO segue.tombstones AS t (owner, id, generation, is_imported, events)
    VALUES (a_owner, a_session, a_generation, a_is_imported, a_events)
    ON CONFLICT (owner, id) DO UPDATE SET
        generation = greatest(t.generation, excluded.generation),
        is_imported = excluded.is_imported, events = excluded.events
        WHERE t.generation <= excluded.generation OR t.generation % 2 = 0;
    UPDATE segue.sessions f SET forked_from = NULL
        WHERE f.owner = a_owner AND f.forked_from = a_session;
    o.outcome := 'done';
    RETURN NEXT o;
END $$;

-- Let a session that nobody holds go on as a_id; what is left are its events up to a_at. The row gets
-- the other id, so that no event moves, and the forks of both find theirs.
CREATE FUNCTION segue_1.set_aside(
    a_owner bigint, a_session bytea, a_id bytea, a_at bytea, a_head bytea,
    a_is_mine boolean,       -- held by the caller, whose own locks do not hinder it
    a_unused_for bigint,     -- if it was updated later, it is held: locks cannot tell
    a_local text[]           -- the keys of metadata that only the fork keeps
) RETURNS SETOF segue_1.replica_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s segue.sessions;
    rest segue.sessions;
    o segue_1.replica_outcome;
    strands segue_1.strand[];
    shared integer := 0;    -- so many events are left
    revision CONSTANT text := segue.revision();
BEGIN
    PERFORM segue.begin_write(a_owner);
    IF a_is_mine OR NOT pg_try_advisory_xact_lock(segue.hold_key(a_owner, a_session)) THEN
        o.outcome := 'held';
        RETURN NEXT o;
        RETURN;
    END IF;
    PERFORM segue.lock_replica(a_owner, a_session);
    PERFORM segue.lock_replica(a_owner, a_id);
    s := segue.lock_with_forks(a_owner, a_session);
    IF a_at IS NOT NULL THEN
        shared := (
            SELECT e.seq FROM segue.find_events(a_owner, s.number, s.fork_seq, ARRAY[a_at]) e
        );
    END IF;
    o.outcome := CASE
        WHEN s.number IS NULL THEN 'absent'
        WHEN s.updated_at >= segue.clock() - a_unused_for THEN 'held'
        WHEN s.head IS DISTINCT FROM a_head THEN 'head_moved'
        WHEN EXISTS (SELECT 1 FROM segue.sessions u WHERE u.owner = a_owner AND u.id = a_id)
            THEN 'head_moved'
        WHEN shared IS NULL THEN 'no_event'
        ELSE 'done'
    END;
    o.head := s.head;
    o.event_count := s.event_count;
    RETURN NEXT o;
    IF o.outcome <> 'done' THEN RETURN; END IF;

    UPDATE segue.sessions u SET
        id = a_id, forked_from = CASE WHEN shared > 0 THEN a_session END, forked_at = shared
        WHERE u.owner = a_owner AND u.number = s.number;
    UPDATE segue.sessions f SET
        forked_from = a_id, revisions = segue.revised(f.revisions, 'origin', revision)
        WHERE f.owner = a_owner AND f.forked_from = a_session AND f.number <> s.number
            AND coalesce(f.forked_at, f.fork_seq) > shared;
    IF shared = 0 THEN RETURN; END IF;
    rest := s;
    rest.number := nextval(pg_get_serial_sequence('segue.sessions', 'number'));
    rest.event_count := shared;
    rest.head := a_at;
    rest.head_invocation := NULL;
    rest.fork_seq := shared;
    rest.forked_at := coalesce(s.forked_at, s.fork_seq);
    rest.title_seq := CASE WHEN s.title_seq <= shared THEN s.title_seq END;
    rest.visible_seq := CASE WHEN s.visible_seq <= shared THEN s.visible_seq END;
    INSERT INTO segue.sessions SELECT (rest).*;
    strands := ARRAY(
        SELECT p FROM segue.strands(a_owner, s.number, s.fork_seq, s.event_count) p
        WHERE p.after < shared
    );
    INSERT INTO segue.spans (owner, session, last, strand)
    SELECT a_owner, rest.number, least(p.last, shared), p.strand FROM unnest(strands) p;
    INSERT INTO segue.metadata (owner, session, key, value, names)
    SELECT a_owner, rest.number, m.key, m.value, m.names FROM segue.metadata m
    WHERE m.owner = a_owner AND m.session = s.number AND NOT m.key = ANY (a_local);
    -- Whoever was granted the one may read both.
    INSERT INTO segue.grants
        (owner, session, repository, granter, grantee, grantee_name, at_repository)
    SELECT a_owner, rest.number, g.repository, g.granter, g.grantee, g.grantee_name, g.at_repository
    FROM segue.grants g WHERE g.owner = a_owner AND g.session = s.number;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA segue, segue_1 FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA segue_1 TO segue_user;
RESET ROLE;
RESET search_path;
