-- How long what is kept: set for the installation, and for a tenant if it wants it otherwise.

-- {"text_days": ..., "metadata_days": ..., "payload_days": ...}; what is missing is as the
-- installation has it.
ALTER TABLE tenant_configs ADD COLUMN retention jsonb NOT NULL DEFAULT '{}';
ALTER TABLE tenant_configs ADD CONSTRAINT tenant_configs_retention_check
    CHECK (jsonb_typeof(retention) = 'object');

CREATE TABLE retention_marks (
    tenant_id uuid NOT NULL,
    texts_to timestamptz NOT NULL,
    CONSTRAINT retention_marks_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT retention_marks_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
ALTER TABLE retention_marks ENABLE ROW LEVEL SECURITY;
ALTER TABLE retention_marks FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON retention_marks
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid)
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON retention_marks TO flowhq_app;

CREATE TYPE retention_outcome AS ENUM ('running', 'done', 'failed');

CREATE TABLE retention_runs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    outcome retention_outcome NOT NULL DEFAULT 'running',
    detail text NOT NULL DEFAULT '',
    figures jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT retention_runs_pkey PRIMARY KEY (id)
);
GRANT SELECT ON retention_runs TO flowhq_ops;

CREATE TABLE retention_state (
    only_row boolean NOT NULL DEFAULT true,
    seen_at timestamptz,
    held_since timestamptz,
    held_why text NOT NULL DEFAULT '',
    next_at timestamptz,
    CONSTRAINT retention_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT retention_state_only_row_check CHECK (only_row)
);
INSERT INTO retention_state DEFAULT VALUES;
GRANT SELECT ON retention_state TO flowhq_ops;

-- For what is deleted by age: the messages of ours among the rest too.
DROP INDEX inbox_created_at_idx;
CREATE INDEX inbox_created_at_idx ON inbox (tenant_id, created_at);

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    SET LOCAL ROLE flowhq_ops;
    CREATE OR REPLACE VIEW ops_tenants AS
    SELECT
        t.id, t.name, t.phone_number, t.status, t.desired_state, t.reason, t.detail, t.paused_at,
        t.created_at, t.updated_at,
        c.template_type, c.business_name, c.language, c.timezone, c.hours_json, c.details,
        s.state AS session_state, s.last_seen_at, s.paired_at, s.own_jid,
        w.name AS worker_name, w.status AS worker_status, w.last_error, w.restarts, w.started_at,
        c.retention
    FROM tenants t
    LEFT JOIN tenant_configs c ON c.tenant_id = t.id
    LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id
    LEFT JOIN worker_processes w ON w.tenant_id = t.id;
    RESET ROLE;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
