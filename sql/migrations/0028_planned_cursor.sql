-- A function in SQL is planned at each call, one in PL/pgSQL once for a connection; this one is called
-- for each message.

CREATE OR REPLACE FUNCTION advance_cursor(
    p_tenant uuid, p_chat_key text, p_at timestamptz, p_id text
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chat_cursors AS c (tenant_id, chat_key, last_timestamp, last_wa_message_id)
    VALUES (p_tenant, p_chat_key, p_at, p_id)
    ON CONFLICT (tenant_id, chat_key) DO UPDATE SET
        last_timestamp = excluded.last_timestamp,
        last_wa_message_id = excluded.last_wa_message_id
    WHERE excluded.last_timestamp >= c.last_timestamp;
END
$$;
