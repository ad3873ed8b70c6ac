-- A message that brings its contact's number waits for a step of its chat, and never across it.

CREATE OR REPLACE FUNCTION link_chat(
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
    -- As a step does: the conversation before its contact.
    PERFORM FROM conversations
    WHERE tenant_id = p_tenant AND chat_key = v_key FOR NO KEY UPDATE;
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
