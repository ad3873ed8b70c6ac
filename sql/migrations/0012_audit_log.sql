-- Who changed what through the API. A row outlives the tenant it speaks of: it names it by its id,
-- without a foreign key, and is no tenant's own.

CREATE TABLE audit_log (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    at timestamptz NOT NULL DEFAULT now(),
    principal text NOT NULL,
    address text NOT NULL,
    request_id text NOT NULL,
    method text NOT NULL,
    route text NOT NULL,
    about_tenant uuid,
    target jsonb NOT NULL DEFAULT '{}',
    status integer,
    changes jsonb NOT NULL DEFAULT '[]',
    done_at timestamptz,
    CONSTRAINT audit_log_pkey PRIMARY KEY (id),
    CONSTRAINT audit_log_done_check CHECK ((status IS NULL) = (done_at IS NULL))
);
CREATE INDEX audit_log_at_idx ON audit_log (at, id);
CREATE INDEX audit_log_tenant_idx ON audit_log (about_tenant, at, id)
    WHERE about_tenant IS NOT NULL;
CREATE INDEX audit_log_principal_idx ON audit_log (principal, at, id);
CREATE INDEX audit_log_route_idx ON audit_log (route, at, id);

CREATE FUNCTION keep_audit() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status IS NOT NULL THEN
        RAISE EXCEPTION 'an audit row is written once' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_log_kept BEFORE UPDATE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION keep_audit();

GRANT SELECT, INSERT ON audit_log TO flowhq_app;
GRANT UPDATE (status, changes, done_at) ON audit_log TO flowhq_app;
