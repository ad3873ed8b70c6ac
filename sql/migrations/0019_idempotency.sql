-- What was asked under an Idempotency-Key and what was answered, for 24 hours. It belongs to the
-- installation: a key is a principal's. Neither key nor body is stored, only digests.

CREATE TABLE idempotency_keys (
    principal text NOT NULL,
    route text NOT NULL,              -- method and path of the table of routes
    key_digest bytea NOT NULL,        -- SHA-256 of the key
    body_digest bytea NOT NULL,       -- of address and body, salted by the key
    about uuid,                       -- the tenant that the answer is about
    created_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,              -- NULL: in progress, or left half-way
    status smallint,                  -- the answer's ...
    headers jsonb NOT NULL DEFAULT '{}',
    answer bytea,                     -- NULL: not kept
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, route, key_digest),
    CONSTRAINT idempotency_keys_done_check CHECK ((done_at IS NULL) = (status IS NULL))
);
-- serves: letting go of old keys (keys.DROP_OLD_KEYS)
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
-- serves: forgetting what was answered about a tenant (keys.FORGET_ANSWERS)
CREATE INDEX idempotency_keys_about_idx ON idempotency_keys (about);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO flowhq_app;
