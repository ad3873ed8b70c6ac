-- Browsers of owners that are signed in at the daemon itself.

CREATE TABLE portal_sessions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT portal_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT portal_sessions_secret_sha256_key UNIQUE (secret_sha256),
    CONSTRAINT portal_sessions_user_id_fkey FOREIGN KEY (tenant_id, user_id)
        REFERENCES portal_users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT portal_sessions_secret_sha256_check CHECK (octet_length(secret_sha256) = 32)
);
CREATE INDEX portal_sessions_user_id_idx ON portal_sessions (tenant_id, user_id);

ALTER TABLE portal_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE portal_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON portal_sessions
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid)
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON portal_sessions TO flowhq_app;
