-- The second wall: what the application's role sees is one tenant's, or nothing.
-- The roles flowhq_app and flowhq_ops belong to the cluster: flowhq/db/migrate.py makes them.

DO $$
DECLARE
    v_table text;
    v_column text;
    v_mine text := '(SELECT nullif(current_setting(''app.tenant_id'', true), ''''))::uuid';
BEGIN
    FOREACH v_table IN ARRAY ARRAY[
        'tenants', 'tenant_configs', 'whatsapp_sessions', 'worker_processes', 'tenant_events',
        'contacts', 'conversations', 'message_logs', 'inbox', 'outbox', 'chat_aliases',
        'chat_cursors'
    ] LOOP
        v_column := CASE v_table WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format(
            'CREATE POLICY tenant_isolation ON %I USING (%I = %s) WITH CHECK (%I = %s)',
            v_table, v_column, v_mine, v_column, v_mine
        );
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO flowhq_app', v_table);
    END LOOP;
END
$$;

-- A partition is reached through its parent only: it has no policy and no grant of its own.
ALTER TABLE message_logs_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE message_logs_default FORCE ROW LEVEL SECURITY;
