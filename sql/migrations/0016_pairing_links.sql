-- A link with which an owner without an account pairs a phone: expiring, used once, revocable.

CREATE TABLE pairing_links (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    token_sha256 bytea NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    opened_at timestamptz,
    used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT pairing_links_pkey PRIMARY KEY (id),
    CONSTRAINT pairing_links_token_sha256_key UNIQUE (token_sha256),
    CONSTRAINT pairing_links_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT pairing_links_token_sha256_check CHECK (octet_length(token_sha256) = 32),
    CONSTRAINT pairing_links_expires_at_check CHECK (expires_at > created_at)
);
CREATE INDEX pairing_links_tenant_id_idx ON pairing_links (tenant_id, created_at, id);

ALTER TABLE pairing_links ENABLE ROW LEVEL SECURITY;
ALTER TABLE pairing_links FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON pairing_links
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid)
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON pairing_links TO flowhq_app;
