-- Recording a message tells which chats it showed to be one: what runs has their messages in hand.

DROP FUNCTION link_chat(uuid, text, text[], text, text);
CREATE FUNCTION link_chat(
    p_tenant uuid, p_chat text, p_jids text[], p_phone text, p_lid text
) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_merged text[];
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
        v_merged := array_append(v_merged, v_other.chat_key);
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
    RETURN v_merged;
END
$$;

DROP FUNCTION lock_chat(uuid, text, text[], text, text);
CREATE FUNCTION lock_chat(
    p_tenant uuid, p_chat text, p_jids text[], p_phone text, p_lid text,
    OUT o_chat conversations, OUT o_merged text[]
)
LANGUAGE plpgsql AS $$
DECLARE
    v_first text;
    v_last text;
    v_count bigint;
BEGIN
    FOR round IN 1..5 LOOP
        SELECT min(chat_key), max(chat_key), count(*) INTO v_first, v_last, v_count
        FROM chat_aliases WHERE tenant_id = p_tenant AND jid = ANY (p_jids);
        IF v_count = cardinality(p_jids) AND v_first = v_last THEN
            SELECT * INTO o_chat FROM conversations
            WHERE tenant_id = p_tenant AND chat_key = v_first FOR NO KEY UPDATE;
            IF FOUND THEN
                RETURN;
            END IF;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtextextended('chats ' || p_tenant, 0));
        o_merged := array_cat(
            o_merged, link_chat(p_tenant, p_chat, p_jids, p_phone, p_lid)
        );
    END LOOP;
    RAISE EXCEPTION 'a chat could not be linked' USING ERRCODE = 'serialization_failure';
END
$$;

DROP FUNCTION record_message(
    uuid, boolean, text, text, text[], text, text, text, text, text, jsonb, jsonb, timestamptz,
    text, text, text, bytea, interval
);
CREATE FUNCTION record_message(
    p_tenant uuid, p_from_me boolean, p_id text, p_chat text, p_jids text[], p_phone text,
    p_lid text, p_push_name text, p_type text, p_text text, p_content jsonb, p_payload jsonb,
    p_at timestamptz, p_source text, p_state text, p_reason text, p_digest bytea,
    p_pause interval,
    OUT o_chat_key text, OUT o_fresh boolean, OUT o_state text, OUT o_ord bigint,
    OUT o_by_person boolean, OUT o_cancelled integer, OUT o_differs boolean, OUT o_merged text[]
)
LANGUAGE plpgsql AS $$
DECLARE
    v_at timestamptz := least(p_at, now());
    v_log_id uuid := gen_random_uuid();
    v_locked record;
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

    v_locked := lock_chat(p_tenant, p_chat, p_jids, p_phone, p_lid);
    v_chat := v_locked.o_chat;
    o_merged := v_locked.o_merged;
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
        SELECT v_chat.chat_key, i.state, i.ord INTO o_chat_key, o_state, o_ord FROM inbox i
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
