-- Admin users, their browser sessions, and tokens for programs.

CREATE TYPE admin_role AS ENUM ('viewer', 'operator', 'admin');

CREATE TABLE admin_users (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    password_hash text NOT NULL,
    role admin_role NOT NULL,
    disabled_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT admin_users_pkey PRIMARY KEY (id),
    CONSTRAINT admin_users_name_key UNIQUE (name),
    CONSTRAINT admin_users_name_check CHECK (name = lower(name) AND name NOT IN ('', 'admin')),
    CONSTRAINT admin_users_password_hash_check CHECK (password_hash LIKE '$argon2id$%')
);
CREATE TRIGGER admin_users_updated BEFORE UPDATE ON admin_users
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE INDEX admin_users_created_at_idx ON admin_users (created_at, id);

CREATE TABLE admin_sessions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    secret_sha256 bytea NOT NULL,
    user_name text NOT NULL,
    mark bytea NOT NULL,
    address text NOT NULL,
    user_agent text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT admin_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT admin_sessions_secret_sha256_key UNIQUE (secret_sha256),
    CONSTRAINT admin_sessions_secret_check CHECK (octet_length(secret_sha256) = 32)
);
CREATE INDEX admin_sessions_user_idx ON admin_sessions (user_name);
CREATE INDEX admin_sessions_created_at_idx ON admin_sessions (created_at, id);

CREATE TABLE api_tokens (
    id uuid NOT NULL,
    name text NOT NULL,
    secret_sha256 bytea NOT NULL,
    scopes text[] NOT NULL,
    reach uuid[],
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT api_tokens_scopes_check CHECK (cardinality(scopes) > 0),
    CONSTRAINT api_tokens_secret_check CHECK (octet_length(secret_sha256) = 32)
);
CREATE INDEX api_tokens_created_at_idx ON api_tokens (created_at, id);

GRANT SELECT, INSERT ON admin_users, api_tokens TO flowhq_app;
GRANT UPDATE (password_hash, role, disabled_at, updated_at) ON admin_users TO flowhq_app;
GRANT UPDATE (last_used_at, revoked_at) ON api_tokens TO flowhq_app;
GRANT SELECT, INSERT, DELETE ON admin_sessions TO flowhq_app;
GRANT UPDATE (last_used_at) ON admin_sessions TO flowhq_app;
