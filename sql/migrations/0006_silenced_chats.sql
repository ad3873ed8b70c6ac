-- A person on the phone takes a chat over; two bots that answer each other are told apart from
-- people; a known id with another content is noticed.

ALTER TYPE message_status ADD VALUE 'cancelled' BEFORE 'sent';

ALTER TABLE conversations ADD COLUMN muted_until timestamptz;
CREATE INDEX conversations_created_at_idx ON conversations (tenant_id, created_at, id);
CREATE INDEX conversations_silenced_idx ON conversations (tenant_id, created_at, id)
    WHERE bot_paused_until IS NOT NULL OR muted_until IS NOT NULL;

ALTER TABLE inbox ADD COLUMN digest bytea, ADD COLUMN differed_at timestamptz;
ALTER TABLE outbox
    ADD COLUMN reason text NOT NULL DEFAULT '', ADD COLUMN done_at timestamptz;

CREATE OR REPLACE FUNCTION merge_chats(p_tenant uuid, p_keep text, p_drop text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    kept conversations;
    gone conversations;
BEGIN
    PERFORM FROM inbox
    WHERE tenant_id = p_tenant AND chat_key = p_drop AND state IN ('new', 'retry')
    ORDER BY ord FOR UPDATE;
    PERFORM FROM conversations
    WHERE tenant_id = p_tenant AND chat_key IN (p_keep, p_drop) ORDER BY id FOR UPDATE;
    SELECT * INTO kept FROM conversations WHERE tenant_id = p_tenant AND chat_key = p_keep;
    SELECT * INTO gone FROM conversations WHERE tenant_id = p_tenant AND chat_key = p_drop;
    UPDATE inbox SET chat_key = p_keep
    WHERE tenant_id = p_tenant AND chat_key = p_drop AND state IN ('new', 'retry');
    UPDATE outbox SET chat_key = p_keep
    WHERE tenant_id = p_tenant AND chat_key = p_drop
        AND state IN ('planned', 'sending', 'unknown');
    UPDATE message_logs SET conversation_id = kept.id
    WHERE tenant_id = p_tenant AND conversation_id = gone.id;
    UPDATE chat_aliases SET chat_key = p_keep WHERE tenant_id = p_tenant AND chat_key = p_drop;
    INSERT INTO chat_cursors AS c (tenant_id, chat_key, last_timestamp, last_wa_message_id)
    SELECT tenant_id, p_keep, last_timestamp, last_wa_message_id FROM chat_cursors
    WHERE tenant_id = p_tenant AND chat_key = p_drop
    ON CONFLICT (tenant_id, chat_key) DO UPDATE SET
        last_timestamp = excluded.last_timestamp,
        last_wa_message_id = excluded.last_wa_message_id
    WHERE excluded.last_timestamp > c.last_timestamp;
    UPDATE conversations SET
        last_message = CASE
            WHEN kept.last_message_at >= gone.last_message_at OR gone.last_message_at IS NULL
            THEN kept.last_message ELSE gone.last_message END,
        last_message_at = greatest(kept.last_message_at, gone.last_message_at),
        last_customer_message_at =
            greatest(kept.last_customer_message_at, gone.last_customer_message_at),
        last_person_message_at =
            greatest(kept.last_person_message_at, gone.last_person_message_at),
        last_outgoing_at = greatest(kept.last_outgoing_at, gone.last_outgoing_at),
        bot_paused_until = greatest(kept.bot_paused_until, gone.bot_paused_until),
        muted_until = greatest(kept.muted_until, gone.muted_until),
        bot_state = CASE
            WHEN kept.last_message_at >= gone.last_message_at OR gone.last_message_at IS NULL
            THEN kept.bot_state ELSE gone.bot_state END
    WHERE id = kept.id;
    DELETE FROM conversations WHERE id = gone.id;
    IF kept.contact_id <> gone.contact_id THEN
        PERFORM merge_contacts(p_tenant, kept.contact_id, gone.contact_id);
    END IF;
END
$$;

CREATE FUNCTION raise_event(p_tenant uuid, p_event text, p_actor text, p_detail text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO tenant_events (
        tenant_id, from_status, to_status, session, worker, reason, event, actor, detail
    )
    SELECT t.id, t.status, t.status, coalesce(s.state, 'DISCONNECTED'),
        coalesce(w.status, 'STOPPED'), t.reason, p_event, p_actor, p_detail
    FROM tenants t
    LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id
    LEFT JOIN worker_processes w ON w.tenant_id = t.id
    WHERE t.id = p_tenant;
$$;

CREATE FUNCTION short_number(p_number text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT left(n, 4) || '…' || CASE WHEN char_length(n) > 9 THEN right(n, 3) ELSE '' END
    FROM split_part(p_number, '@', 1) AS n;
$$;

CREATE FUNCTION note_difference(p_tenant uuid, p_from_me boolean, p_id text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE inbox SET differed_at = now()
    WHERE tenant_id = p_tenant AND from_me = p_from_me AND wa_message_id = p_id
        AND differed_at IS NULL;
    IF FOUND THEN
        PERFORM raise_event(
            p_tenant, 'content_differed', 'daemon',
            'A message came again under the same id with another content; the first one stays.'
        );
    END IF;
    RETURN FOUND;
END
$$;

CREATE FUNCTION take_over(
    p_tenant uuid, p_chat conversations, p_them text, p_at timestamptz, p_pause interval
) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_until timestamptz := p_at + p_pause;
    v_row record;
    v_count integer := 0;
BEGIN
    IF p_pause IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE conversations SET bot_paused_until = greatest(bot_paused_until, v_until)
    WHERE tenant_id = p_tenant AND id = p_chat.id;
    FOR v_row IN
        UPDATE outbox SET
            reason = 'person',
            state = CASE state WHEN 'planned' THEN 'cancelled' ELSE state END,
            done_at = CASE state WHEN 'planned' THEN now() END
        WHERE tenant_id = p_tenant AND chat_key = p_chat.chat_key
            AND state IN ('planned', 'sending', 'unknown')
            AND (v_until > now() OR planned_at <= p_at)
        RETURNING state, log_id, log_at
    LOOP
        IF v_row.state = 'cancelled' THEN
            PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, 'cancelled');
            v_count := v_count + 1;
        END IF;
    END LOOP;
    IF v_until > now() AND coalesce(p_chat.bot_paused_until <= now(), true) THEN
        PERFORM raise_event(
            p_tenant, 'person_took_over', 'phone',
            format('A person wrote to %s: the bot is silent there. Planned messages taken back: %s.',
                short_number(p_them), v_count)
        );
    END IF;
    RETURN v_count;
END
$$;

DROP FUNCTION record_message(
    uuid, boolean, text, text, text[], text, text, text, text, text, jsonb, jsonb, timestamptz,
    text, text, text
);
CREATE FUNCTION record_message(
    p_tenant uuid, p_from_me boolean, p_id text, p_chat text, p_jids text[], p_phone text,
    p_lid text, p_push_name text, p_type text, p_text text, p_content jsonb, p_payload jsonb,
    p_at timestamptz, p_source text, p_state text, p_reason text, p_digest bytea,
    p_pause interval,
    OUT o_chat_key text, OUT o_fresh boolean, OUT o_state text, OUT o_ord bigint,
    OUT o_by_person boolean, OUT o_cancelled integer, OUT o_differs boolean
)
LANGUAGE plpgsql AS $$
DECLARE
    v_at timestamptz := least(p_at, now());
    v_log_id uuid := gen_random_uuid();
    v_chat conversations;
    v_them text;
    v_us text;
BEGIN
    SELECT false, false, 0, false INTO o_fresh, o_by_person, o_cancelled, o_differs;
    SELECT i.chat_key, i.state, i.ord, i.differed_at IS NULL AND i.digest <> p_digest
    INTO o_chat_key, o_state, o_ord, o_differs FROM inbox i
    WHERE i.tenant_id = p_tenant AND i.from_me = p_from_me AND i.wa_message_id = p_id;
    IF FOUND THEN
        o_differs := coalesce(o_differs, false) AND note_difference(p_tenant, p_from_me, p_id);
        RETURN;
    END IF;
    o_differs := false;
    IF p_from_me THEN
        SELECT chat_key INTO o_chat_key FROM outbox
        WHERE tenant_id = p_tenant AND client_id = p_id;
        IF FOUND THEN
            IF EXISTS (
                SELECT FROM conversations WHERE tenant_id = p_tenant AND chat_key = o_chat_key
            ) THEN
                PERFORM advance_cursor(p_tenant, o_chat_key, v_at, p_id);
            END IF;
            SELECT 'done', 0 INTO o_state, o_ord;
            RETURN;
        END IF;
    END IF;

    v_chat := lock_chat(p_tenant, p_chat, p_jids, p_phone, p_lid);
    INSERT INTO inbox (
        tenant_id, from_me, wa_message_id, chat_key, wa_timestamp, source, state, reason,
        payload, log_id, log_at, done_at, digest
    ) VALUES (
        p_tenant, p_from_me, p_id, v_chat.chat_key, p_at, p_source::message_source,
        p_state::inbox_state, p_reason,
        CASE WHEN p_state NOT IN ('done', 'skipped') THEN p_payload END, v_log_id, now(),
        CASE WHEN p_state IN ('done', 'skipped') THEN now() END, p_digest
    ) ON CONFLICT (tenant_id, from_me, wa_message_id) DO NOTHING
    RETURNING chat_key, state, ord INTO o_chat_key, o_state, o_ord;
    IF NOT FOUND THEN
        SELECT i.chat_key, i.state, i.ord INTO o_chat_key, o_state, o_ord FROM inbox i
        WHERE i.tenant_id = p_tenant AND i.from_me = p_from_me AND i.wa_message_id = p_id;
        RETURN;
    END IF;
    o_fresh := true;

    SELECT coalesce(k.phone_number, p_chat), t.phone_number INTO v_them, v_us
    FROM contacts k JOIN tenants t ON t.id = k.tenant_id
    WHERE k.tenant_id = p_tenant AND k.id = v_chat.contact_id;
    INSERT INTO message_logs (
        id, tenant_id, direction, from_number, to_number, message_text, wa_message_id,
        created_at, conversation_id, type, content, status, wa_timestamp
    ) VALUES (
        v_log_id, p_tenant,
        CASE WHEN p_from_me THEN 'OUT' ELSE 'IN' END::message_direction,
        CASE WHEN p_from_me THEN v_us ELSE v_them END,
        CASE WHEN p_from_me THEN v_them ELSE v_us END,
        p_text, p_id, now(), v_chat.id, p_type::message_type, p_content,
        CASE WHEN p_from_me THEN 'sent' ELSE 'received' END::message_status, p_at
    );
    UPDATE conversations SET
        last_message = CASE WHEN v_at >= coalesce(last_message_at, v_at)
            THEN left(coalesce(nullif(p_text, ''), '[' || p_type || ']'), 1000)
            ELSE last_message END,
        last_message_at = greatest(last_message_at, v_at),
        last_customer_message_at = CASE WHEN p_from_me THEN last_customer_message_at
            ELSE greatest(last_customer_message_at, v_at) END,
        last_person_message_at = CASE WHEN p_from_me
            THEN greatest(last_person_message_at, v_at) ELSE last_person_message_at END,
        last_outgoing_at = CASE WHEN p_from_me
            THEN greatest(last_outgoing_at, v_at) ELSE last_outgoing_at END
    WHERE tenant_id = p_tenant AND id = v_chat.id;
    IF NOT p_from_me AND p_push_name <> '' THEN
        UPDATE contacts SET push_name = p_push_name
        WHERE tenant_id = p_tenant AND id = v_chat.contact_id
            AND push_name IS DISTINCT FROM p_push_name;
    END IF;
    PERFORM advance_cursor(p_tenant, v_chat.chat_key, v_at, p_id);
    IF p_from_me THEN
        o_by_person := true;
        o_cancelled := take_over(p_tenant, v_chat, v_them, v_at, p_pause);
    END IF;
END
$$;

GRANT SELECT (own_lid) ON whatsapp_sessions TO flowhq_ops;

CREATE VIEW ops_numbers AS
SELECT t.id AS tenant_id, t.phone_number, s.own_jid, s.own_lid
FROM tenants t
LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id;

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_numbers OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
