-- What guards the processing: inbox, outbox, aliases and cursors of chats, and their functions.

CREATE TYPE message_source AS ENUM ('live', 'catchup', 'webhook');
CREATE TYPE inbox_state AS ENUM ('new', 'retry', 'done', 'skipped', 'dead');
CREATE TYPE outbox_state AS ENUM (
    'planned', 'sending', 'unknown', 'dead', 'cancelled', 'accepted', 'delivered', 'read'
);

CREATE TABLE inbox (
    tenant_id uuid NOT NULL,
    from_me boolean NOT NULL,
    wa_message_id text NOT NULL,
    chat_key text NOT NULL,
    wa_timestamp timestamptz NOT NULL,
    ord bigint GENERATED ALWAYS AS IDENTITY,
    source message_source NOT NULL,
    state inbox_state NOT NULL,
    reason text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz,
    error text,
    payload jsonb,
    log_id uuid NOT NULL,
    log_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    CONSTRAINT inbox_pkey PRIMARY KEY (tenant_id, from_me, wa_message_id),
    CONSTRAINT inbox_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT inbox_payload_check CHECK (state IN ('done', 'skipped') OR payload IS NOT NULL)
);
CREATE INDEX inbox_waiting_idx ON inbox (tenant_id, ord) WHERE state IN ('new', 'retry');
CREATE INDEX inbox_waiting_chat_idx ON inbox (tenant_id, chat_key, ord)
    WHERE state IN ('new', 'retry');

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    chat_key text NOT NULL,
    to_jid text NOT NULL,
    cause text NOT NULL,
    part integer NOT NULL,
    client_id text NOT NULL,
    body jsonb NOT NULL,
    intent text NOT NULL DEFAULT '',
    state outbox_state NOT NULL DEFAULT 'planned',
    attempts integer NOT NULL DEFAULT 0,
    planned_at timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    error text,
    epoch bigint NOT NULL DEFAULT 0,
    log_id uuid NOT NULL,
    log_at timestamptz NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT outbox_cause_part_key UNIQUE (tenant_id, cause, part),
    CONSTRAINT outbox_client_id_key UNIQUE (tenant_id, client_id),
    CONSTRAINT outbox_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT outbox_part_check CHECK (part >= 0)
);
CREATE INDEX outbox_unsettled_idx ON outbox (tenant_id, id)
    WHERE state IN ('planned', 'sending', 'unknown');

CREATE TABLE chat_aliases (
    tenant_id uuid NOT NULL,
    jid text NOT NULL,
    chat_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT chat_aliases_pkey PRIMARY KEY (tenant_id, jid),
    CONSTRAINT chat_aliases_chat_key_fkey FOREIGN KEY (tenant_id, chat_key)
        REFERENCES conversations (tenant_id, chat_key) ON DELETE CASCADE
);
CREATE INDEX chat_aliases_chat_key_idx ON chat_aliases (tenant_id, chat_key);

CREATE TABLE chat_cursors (
    tenant_id uuid NOT NULL,
    chat_key text NOT NULL,
    last_timestamp timestamptz NOT NULL,
    last_wa_message_id text NOT NULL,
    CONSTRAINT chat_cursors_pkey PRIMARY KEY (tenant_id, chat_key),
    CONSTRAINT chat_cursors_chat_key_fkey FOREIGN KEY (tenant_id, chat_key)
        REFERENCES conversations (tenant_id, chat_key) ON DELETE CASCADE
);

CREATE FUNCTION merge_contacts(p_tenant uuid, p_keep uuid, p_drop uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    gone contacts;
BEGIN
    UPDATE conversations SET contact_id = p_keep
    WHERE tenant_id = p_tenant AND contact_id = p_drop;
    DELETE FROM contacts WHERE tenant_id = p_tenant AND id = p_drop RETURNING * INTO gone;
    UPDATE contacts SET
        phone_number = coalesce(phone_number, gone.phone_number),
        lid = coalesce(lid, gone.lid),
        bsuid = coalesce(bsuid, gone.bsuid),
        name = coalesce(name, gone.name),
        push_name = coalesce(push_name, gone.push_name),
        opted_out_at = least(opted_out_at, gone.opted_out_at),
        created_at = least(created_at, gone.created_at)
    WHERE tenant_id = p_tenant AND id = p_keep;
END
$$;

CREATE FUNCTION merge_chats(p_tenant uuid, p_keep text, p_drop text) RETURNS void
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

CREATE FUNCTION link_chat(
    p_tenant uuid, p_chat text, p_jids text[], p_phone text, p_lid text
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_key text;
    v_contact uuid;
    v_other record;
BEGIN
    SELECT c.chat_key, c.contact_id INTO v_key, v_contact FROM conversations c
    WHERE c.tenant_id = p_tenant AND c.chat_key IN (
        SELECT a.chat_key FROM chat_aliases a
        WHERE a.tenant_id = p_tenant AND a.jid = ANY (p_jids)
    ) ORDER BY c.created_at, c.id LIMIT 1;
    FOR v_other IN
        SELECT DISTINCT a.chat_key FROM chat_aliases a
        WHERE a.tenant_id = p_tenant AND a.jid = ANY (p_jids) AND a.chat_key <> v_key
    LOOP
        PERFORM merge_chats(p_tenant, v_key, v_other.chat_key);
    END LOOP;
    FOR v_other IN
        SELECT k.id FROM contacts k
        WHERE k.tenant_id = p_tenant AND (k.phone_number = p_phone OR k.lid = p_lid)
        ORDER BY k.created_at, k.id
    LOOP
        IF v_contact IS NULL THEN
            v_contact := v_other.id;
        ELSIF v_contact <> v_other.id THEN
            PERFORM merge_contacts(p_tenant, v_contact, v_other.id);
        END IF;
    END LOOP;
    IF v_contact IS NULL THEN
        INSERT INTO contacts (tenant_id, phone_number, lid) VALUES (p_tenant, p_phone, p_lid)
        RETURNING id INTO v_contact;
    ELSE
        UPDATE contacts SET
            phone_number = coalesce(phone_number, p_phone), lid = coalesce(lid, p_lid)
        WHERE tenant_id = p_tenant AND id = v_contact;
    END IF;
    IF v_key IS NULL THEN
        v_key := p_chat;
        INSERT INTO conversations (tenant_id, chat_key, contact_id)
        VALUES (p_tenant, v_key, v_contact);
    END IF;
    INSERT INTO chat_aliases (tenant_id, jid, chat_key)
    SELECT p_tenant, jid, v_key FROM unnest(p_jids) AS jid
    ON CONFLICT (tenant_id, jid) DO NOTHING;
END
$$;

CREATE FUNCTION lock_chat(
    p_tenant uuid, p_chat text, p_jids text[], p_phone text, p_lid text
) RETURNS conversations
LANGUAGE plpgsql AS $$
DECLARE
    v_first text;
    v_last text;
    v_count bigint;
    v_chat conversations;
BEGIN
    FOR round IN 1..5 LOOP
        SELECT min(chat_key), max(chat_key), count(*) INTO v_first, v_last, v_count
        FROM chat_aliases WHERE tenant_id = p_tenant AND jid = ANY (p_jids);
        IF v_count = cardinality(p_jids) AND v_first = v_last THEN
            SELECT * INTO v_chat FROM conversations
            WHERE tenant_id = p_tenant AND chat_key = v_first FOR NO KEY UPDATE;
            IF FOUND THEN
                RETURN v_chat;
            END IF;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtextextended('chats ' || p_tenant, 0));
        PERFORM link_chat(p_tenant, p_chat, p_jids, p_phone, p_lid);
    END LOOP;
    RAISE EXCEPTION 'a chat could not be linked' USING ERRCODE = 'serialization_failure';
END
$$;

CREATE FUNCTION advance_cursor(p_tenant uuid, p_chat_key text, p_at timestamptz, p_id text)
RETURNS void
LANGUAGE sql AS $$
    INSERT INTO chat_cursors AS c (tenant_id, chat_key, last_timestamp, last_wa_message_id)
    VALUES (p_tenant, p_chat_key, p_at, p_id)
    ON CONFLICT (tenant_id, chat_key) DO UPDATE SET
        last_timestamp = excluded.last_timestamp,
        last_wa_message_id = excluded.last_wa_message_id
    WHERE excluded.last_timestamp >= c.last_timestamp;
$$;

CREATE FUNCTION move_status(
    p_tenant uuid, p_log_id uuid, p_log_at timestamptz, p_status message_status
) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE message_logs SET status = p_status
    WHERE tenant_id = p_tenant AND id = p_log_id AND created_at = p_log_at AND direction = 'OUT'
        AND (status < p_status OR status = 'failed' AND p_status = 'queued');
    RETURN FOUND;
END
$$;

CREATE FUNCTION record_message(
    p_tenant uuid, p_from_me boolean, p_id text, p_chat text, p_jids text[], p_phone text,
    p_lid text, p_push_name text, p_type text, p_text text, p_content jsonb, p_payload jsonb,
    p_at timestamptz, p_source text, p_state text, p_reason text,
    OUT o_chat_key text, OUT o_fresh boolean, OUT o_state text, OUT o_ord bigint
)
LANGUAGE plpgsql AS $$
DECLARE
    v_at timestamptz := least(p_at, now());
    v_log_id uuid := gen_random_uuid();
    v_chat conversations;
    v_them text;
    v_us text;
BEGIN
    o_fresh := false;
    SELECT i.chat_key, i.state, i.ord INTO o_chat_key, o_state, o_ord FROM inbox i
    WHERE i.tenant_id = p_tenant AND i.from_me = p_from_me AND i.wa_message_id = p_id;
    IF FOUND THEN
        RETURN;
    END IF;
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
        payload, log_id, log_at, done_at
    ) VALUES (
        p_tenant, p_from_me, p_id, v_chat.chat_key, p_at, p_source::message_source,
        p_state::inbox_state, p_reason,
        CASE WHEN p_state NOT IN ('done', 'skipped') THEN p_payload END, v_log_id, now(),
        CASE WHEN p_state IN ('done', 'skipped') THEN now() END
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
END
$$;
