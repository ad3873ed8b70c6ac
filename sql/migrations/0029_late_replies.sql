-- A reply that was due for longer than its reader would understand is taken back instead of sent.

DROP FUNCTION mark_sending(uuid, bigint);

CREATE FUNCTION mark_sending(p_tenant uuid, p_id bigint, p_max_age interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_oldest timestamptz := coalesce(now() - p_max_age, '-infinity');
    v_row record;
BEGIN
    UPDATE outbox SET
        state = CASE WHEN reason = '' AND next_at >= v_oldest THEN 'sending'
            ELSE 'cancelled' END::outbox_state,
        reason = CASE WHEN reason = '' AND next_at < v_oldest THEN 'too_old' ELSE reason END,
        attempts = CASE WHEN reason = '' AND next_at >= v_oldest THEN attempts + 1
            ELSE attempts END,
        sent_at = CASE WHEN reason = '' AND next_at >= v_oldest THEN now() ELSE sent_at END,
        done_at = CASE WHEN reason = '' AND next_at >= v_oldest THEN NULL ELSE now() END
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
