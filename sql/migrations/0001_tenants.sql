-- The tenants and their one-to-one rows.

CREATE TYPE tenant_status AS ENUM ('NEW', 'QR_PENDING', 'ACTIVE', 'PAUSED', 'ERROR');
CREATE TYPE desired_state AS ENUM ('STOPPED', 'RUNNING');
CREATE TYPE template_type AS ENUM ('BOOKING', 'ECOMMERCE', 'SUPPORT');
CREATE TYPE language AS ENUM ('SW', 'EN');
CREATE TYPE session_state AS ENUM ('DISCONNECTED', 'QR_READY', 'CONNECTED');
CREATE TYPE worker_status AS ENUM ('STOPPED', 'RUNNING', 'ERROR');

CREATE FUNCTION set_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TABLE installation (
    only_row boolean NOT NULL DEFAULT true,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT installation_pkey PRIMARY KEY (only_row),
    CONSTRAINT installation_only_row_check CHECK (only_row),
    CONSTRAINT installation_secret_check CHECK (octet_length(secret) = 32)
);

CREATE TABLE tenants (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    phone_number text NOT NULL,
    status tenant_status NOT NULL DEFAULT 'NEW',
    desired_state desired_state NOT NULL DEFAULT 'STOPPED',
    reason text NOT NULL DEFAULT 'NOT_STARTED',
    detail text NOT NULL DEFAULT '',
    paused_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_phone_number_key UNIQUE (phone_number),
    CONSTRAINT tenants_name_check CHECK (name <> ''),
    CONSTRAINT tenants_phone_number_check CHECK (phone_number ~ '^\+[1-9][0-9]{6,14}$')
);
CREATE INDEX tenants_created_at_idx ON tenants (created_at, id);
CREATE TRIGGER tenants_updated_at BEFORE UPDATE ON tenants
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE tenant_configs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    template_type template_type NOT NULL DEFAULT 'BOOKING',
    business_name text NOT NULL,
    language language NOT NULL DEFAULT 'SW',
    hours_json jsonb,
    timezone text NOT NULL DEFAULT 'Africa/Dar_es_Salaam',
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_configs_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_configs_tenant_id_key UNIQUE (tenant_id),
    CONSTRAINT tenant_configs_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT tenant_configs_details_check CHECK (jsonb_typeof(details) = 'object')
);
CREATE TRIGGER tenant_configs_updated_at BEFORE UPDATE ON tenant_configs
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE whatsapp_sessions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    state session_state NOT NULL DEFAULT 'DISCONNECTED',
    last_qr text,
    last_qr_text text,
    last_qr_expires_at timestamptz,
    last_seen_at timestamptz,
    paired_at timestamptz,
    own_jid text,
    own_lid text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT whatsapp_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT whatsapp_sessions_tenant_id_key UNIQUE (tenant_id),
    CONSTRAINT whatsapp_sessions_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE TRIGGER whatsapp_sessions_updated_at BEFORE UPDATE ON whatsapp_sessions
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE worker_processes (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    status worker_status NOT NULL DEFAULT 'STOPPED',
    last_error text,
    restarts integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT worker_processes_pkey PRIMARY KEY (id),
    CONSTRAINT worker_processes_tenant_id_key UNIQUE (tenant_id),
    CONSTRAINT worker_processes_name_key UNIQUE (name),
    CONSTRAINT worker_processes_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT worker_processes_restarts_check CHECK (restarts >= 0)
);
CREATE TRIGGER worker_processes_updated_at BEFORE UPDATE ON worker_processes
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE FUNCTION default_worker_name() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.name := coalesce(NEW.name, 'worker-' || NEW.tenant_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER worker_processes_name BEFORE INSERT ON worker_processes
    FOR EACH ROW EXECUTE FUNCTION default_worker_name();

CREATE TABLE tenant_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    from_status tenant_status NOT NULL,
    to_status tenant_status NOT NULL,
    session session_state NOT NULL,
    worker worker_status NOT NULL,
    reason text NOT NULL,
    event text NOT NULL,
    actor text NOT NULL,
    detail text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_events_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_events_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX tenant_events_tenant_id_idx ON tenant_events (tenant_id, id);
