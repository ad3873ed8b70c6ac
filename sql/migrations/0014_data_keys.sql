-- Secrets are stored sealed, each tenant's with a key of its own. Codes on show are forgotten once:
-- a running tenant shows a new one within seconds.

ALTER TABLE installation
    ADD COLUMN data_key bytea,
    ADD COLUMN master_key_id text,
    ADD CONSTRAINT installation_data_key_check CHECK ((data_key IS NULL) = (master_key_id IS NULL));

CREATE TABLE data_keys (
    tenant_id uuid NOT NULL,
    wrapped bytea NOT NULL,
    message_key bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_keys_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT data_keys_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);

ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON data_keys
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid)
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON data_keys TO flowhq_app;

ALTER TABLE whatsapp_sessions
    ALTER COLUMN last_qr TYPE bytea USING NULL,
    ALTER COLUMN last_qr_text TYPE bytea USING NULL;
