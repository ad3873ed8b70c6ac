-- Business owners: who they are, what they ask for, what they did; and the keys of portals.

-- Who signs in for the first time has no number yet: NULL, of which there may be many.
ALTER TABLE tenants ALTER COLUMN phone_number DROP NOT NULL;

CREATE TYPE portal_role AS ENUM ('OWNER');
CREATE TYPE setup_status AS ENUM ('SUBMITTED', 'REVIEWING', 'APPROVED', 'ACTIVE', 'REJECTED');

CREATE TABLE portal_users (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    email text NOT NULL,
    name text NOT NULL DEFAULT '',
    phone text,
    role portal_role NOT NULL DEFAULT 'OWNER',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT portal_users_pkey PRIMARY KEY (id),
    CONSTRAINT portal_users_email_key UNIQUE (email),
    CONSTRAINT portal_users_tenant_id_key UNIQUE (tenant_id, id),
    CONSTRAINT portal_users_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT portal_users_email_check CHECK (email = lower(email) AND email LIKE '_%@_%')
);
CREATE TRIGGER portal_users_updated_at BEFORE UPDATE ON portal_users
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE setup_requests (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    template_type template_type NOT NULL,
    whatsapp_number text NOT NULL,
    notes text NOT NULL DEFAULT '',
    status setup_status NOT NULL DEFAULT 'SUBMITTED',
    reason text NOT NULL DEFAULT '',
    decided_by text NOT NULL DEFAULT '',
    reviewing_at timestamptz,
    approved_at timestamptz,
    active_at timestamptz,
    rejected_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT setup_requests_pkey PRIMARY KEY (id),
    CONSTRAINT setup_requests_user_id_fkey FOREIGN KEY (tenant_id, user_id)
        REFERENCES portal_users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT setup_requests_number_check CHECK (whatsapp_number ~ '^\+[1-9][0-9]{6,14}$'),
    CONSTRAINT setup_requests_reason_check CHECK (status <> 'REJECTED' OR reason <> '')
);
CREATE UNIQUE INDEX setup_requests_open_key ON setup_requests (tenant_id)
    WHERE status IN ('SUBMITTED', 'REVIEWING', 'APPROVED');
CREATE INDEX setup_requests_tenant_id_idx ON setup_requests (tenant_id, created_at, id);
CREATE INDEX setup_requests_status_idx ON setup_requests (status, created_at, id);
CREATE INDEX setup_requests_created_at_idx ON setup_requests (created_at, id);
CREATE TRIGGER setup_requests_updated_at BEFORE UPDATE ON setup_requests
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE portal_event_logs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    event_type text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT portal_event_logs_pkey PRIMARY KEY (id),
    CONSTRAINT portal_event_logs_user_id_fkey FOREIGN KEY (tenant_id, user_id)
        REFERENCES portal_users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX portal_event_logs_tenant_id_idx ON portal_event_logs (tenant_id, id);

CREATE TABLE portal_keys (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    slot smallint NOT NULL,
    key_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    retired_at timestamptz,
    CONSTRAINT portal_keys_pkey PRIMARY KEY (id),
    CONSTRAINT portal_keys_key_sha256_key UNIQUE (key_sha256),
    CONSTRAINT portal_keys_name_check CHECK (name <> ''),
    CONSTRAINT portal_keys_slot_check CHECK (slot IN (1, 2)),
    CONSTRAINT portal_keys_key_sha256_check CHECK (octet_length(key_sha256) = 32)
);
CREATE UNIQUE INDEX portal_keys_live_key ON portal_keys (slot) WHERE retired_at IS NULL;
GRANT SELECT, INSERT ON portal_keys TO flowhq_app;
GRANT UPDATE (last_used_at, retired_at) ON portal_keys TO flowhq_app;

DO $$
DECLARE
    v_table text;
    v_mine text := '(SELECT nullif(current_setting(''app.tenant_id'', true), ''''))::uuid';
BEGIN
    FOREACH v_table IN ARRAY ARRAY['portal_users', 'setup_requests', 'portal_event_logs'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format(
            'CREATE POLICY tenant_isolation ON %I USING (tenant_id = %s) WITH CHECK (tenant_id = %s)',
            v_table, v_mine, v_mine
        );
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO flowhq_app', v_table);
    END LOOP;
END
$$;

CREATE POLICY ops_read ON portal_users FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON setup_requests FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
GRANT SELECT (id, tenant_id, email, name) ON portal_users TO flowhq_ops;
GRANT SELECT ON setup_requests TO flowhq_ops;

CREATE VIEW ops_setup_requests AS
SELECT
    r.id, r.tenant_id, r.user_id, r.template_type, r.whatsapp_number, r.notes, r.status, r.reason,
    r.decided_by, r.reviewing_at, r.approved_at, r.active_at, r.rejected_at, r.created_at,
    t.name AS tenant_name, u.email AS user_email, u.name AS user_name
FROM setup_requests r
JOIN tenants t ON t.id = r.tenant_id
JOIN portal_users u ON u.tenant_id = r.tenant_id AND u.id = r.user_id;

-- The narrow door before a tenant is known: one address in, one tenant out, and no list of them.
CREATE FUNCTION portal_tenant_of(p_email text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT u.tenant_id FROM portal_users u WHERE u.email = p_email
$$;
REVOKE ALL ON FUNCTION portal_tenant_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION portal_tenant_of(text) TO flowhq_app;

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_setup_requests OWNER TO flowhq_ops;
    ALTER FUNCTION portal_tenant_of(text) OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
