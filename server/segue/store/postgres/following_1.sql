-- Who follows is told of changes by NOTIFY. That takes a lock of the whole server at the commit, so
-- it is sent only while somebody follows the account. Two advisory locks tell, without a table and
-- without making a writer wait; their keys are the account's number with the last bit 0 and 1:
--
-- * Who follows holds the first one, shared. Who writes can have it alone only if nobody does.
-- * Who writes holds the second one, shared, until the commit. Who begins to follow has it alone for
--   a moment, and so has waited for all who have not seen that somebody follows.
SET ROLE segue_owner;
SET search_path = pg_catalog;

-- A name that nobody else can guess: any role may listen to any channel.
CREATE FUNCTION segue.channel(a_owner bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN 'segue_' || left(encode(sha256(int8send(a_owner) || s.value), 'hex'), 48)
        FROM segue.secret s;
END $$;

-- Tell who follows the account, when this transaction is committed.
CREATE FUNCTION segue.announce(a_owner bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE key CONSTANT bigint := a_owner & ~1::bigint;
BEGIN
    IF pg_try_advisory_xact_lock_shared(key + 1)
        -- What this very session holds does not hinder it.
        AND coalesce(current_setting('segue.follows', true), '') <> 'on'
    THEN
        IF pg_try_advisory_lock(key) THEN
            PERFORM pg_advisory_unlock(key);
            RETURN;
        END IF;
    END IF;
    PERFORM pg_notify(segue.channel(a_owner), '');
END $$;

-- Listen to what is announced. The caller is told at once, or its session cannot be told at all.
CREATE FUNCTION segue_1.follow(a_owner bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key CONSTANT bigint := a_owner & ~1::bigint;
    channel CONSTANT text := segue.channel(a_owner);
BEGIN
    PERFORM segue.check_owner(a_owner);
    PERFORM set_config('segue.follows', 'on', false);
    PERFORM pg_advisory_lock_shared(key);
    PERFORM pg_advisory_lock(key + 1);
    PERFORM pg_advisory_unlock(key + 1);
    EXECUTE format('LISTEN %I', channel);
    PERFORM pg_notify(channel, '');
END $$;

CREATE FUNCTION segue_1.unfollow(a_owner bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM segue.check_owner(a_owner);
    EXECUTE format('UNLISTEN %I', segue.channel(a_owner));
    PERFORM pg_advisory_unlock_shared(a_owner & ~1::bigint);
    PERFORM set_config('segue.follows', '', false);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA segue, segue_1 FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA segue_1 TO segue_user;
RESET ROLE;
RESET search_path;
