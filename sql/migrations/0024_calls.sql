-- The ledger's steps that are one statement are functions, so that each is one round trip: their
-- caller chooses the tenant with the first argument (flowhq/db/pool.py, call).

-- Whether a message may be handed to the page now: committed before it is. One that failed and is
-- sent again is on its way again; one that a person took the chat from while it was in doubt is not
-- sent once more.
CREATE FUNCTION mark_sending(p_tenant uuid, p_id bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    UPDATE outbox SET
        state = CASE WHEN reason = '' THEN 'sending' ELSE 'cancelled' END::outbox_state,
        attempts = CASE WHEN reason = '' THEN attempts + 1 ELSE attempts END,
        sent_at = CASE WHEN reason = '' THEN now() ELSE sent_at END,
        done_at = CASE WHEN reason = '' THEN NULL ELSE now() END
    WHERE tenant_id = p_tenant AND id = p_id AND state IN ('planned', 'sending', 'unknown')
    RETURNING state, attempts, log_id, log_at INTO v_row;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF v_row.state = 'cancelled' THEN
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, 'cancelled');
        RETURN false;
    END IF;
    IF v_row.attempts > 1 THEN
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, 'queued');
    END IF;
    RETURN true;
END
$$;

-- The page has taken it. The states are declared in the order of proof: greatest() never goes back.
CREATE FUNCTION mark_accepted(
    p_tenant uuid, p_id bigint, p_state outbox_state, p_status message_status
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    UPDATE outbox SET
        state = greatest(state, p_state), error = NULL,
        accepted_at = coalesce(accepted_at, now()),
        delivered_at = coalesce(
            delivered_at, CASE WHEN p_state IN ('delivered', 'read') THEN now() END
        ),
        read_at = coalesce(read_at, CASE WHEN p_state = 'read' THEN now() END)
    WHERE tenant_id = p_tenant AND id = p_id
    RETURNING log_id, log_at INTO v_row;
    IF FOUND THEN
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, p_status);
    END IF;
END
$$;

-- The platform told of own messages; p_state NULL proves nothing. The bot's are found by their
-- outbox row, a person's by their inbox row: the ledger itself is never searched by id, since that
-- would open every day.
CREATE FUNCTION acknowledge(
    p_tenant uuid, p_ids text[], p_state outbox_state, p_status message_status
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        UPDATE outbox SET
            state = greatest(state, coalesce(p_state, state)),
            accepted_at = coalesce(accepted_at, CASE WHEN p_state IS NOT NULL THEN now() END),
            delivered_at = coalesce(
                delivered_at, CASE WHEN p_state IN ('delivered', 'read') THEN now() END
            ),
            read_at = coalesce(read_at, CASE WHEN p_state = 'read' THEN now() END)
        WHERE tenant_id = p_tenant AND client_id = ANY (p_ids)
        RETURNING log_id, log_at
    LOOP
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, p_status);
    END LOOP;
    FOR v_row IN
        SELECT log_id, log_at FROM inbox
        WHERE tenant_id = p_tenant AND from_me AND wa_message_id = ANY (p_ids)
    LOOP
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, p_status);
    END LOOP;
END
$$;
