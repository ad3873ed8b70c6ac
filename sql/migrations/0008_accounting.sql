-- What came, what became of it, and how long each tenant was connected against how long it was
-- wanted: for a person, tenant by tenant and in all.

CREATE TYPE span_kind AS ENUM ('wanted', 'connected');

CREATE TABLE tenant_spans (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    kind span_kind NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    until_at timestamptz,             -- NULL: wanted still
    CONSTRAINT tenant_spans_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_spans_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX tenant_spans_tenant_id_idx ON tenant_spans (tenant_id, kind, began_at);

CREATE FUNCTION keep_wanted() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.desired_state = 'RUNNING' THEN
        INSERT INTO tenant_spans (tenant_id, kind) VALUES (NEW.id, 'wanted');
    ELSE
        UPDATE tenant_spans SET until_at = now()
        WHERE tenant_id = NEW.id AND kind = 'wanted' AND until_at IS NULL;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tenants_wanted AFTER UPDATE OF desired_state ON tenants
    FOR EACH ROW WHEN (OLD.desired_state <> NEW.desired_state) EXECUTE FUNCTION keep_wanted();
CREATE TRIGGER tenants_wanted_at_once AFTER INSERT ON tenants
    FOR EACH ROW WHEN (NEW.desired_state = 'RUNNING') EXECUTE FUNCTION keep_wanted();

CREATE INDEX inbox_created_at_idx ON inbox (tenant_id, created_at) WHERE NOT from_me;
CREATE INDEX outbox_planned_at_idx ON outbox (tenant_id, planned_at);

-- Who is wanted already counts from now on. The owner is bound by FORCE as well.
ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY;
INSERT INTO tenant_spans (tenant_id, kind)
SELECT id, 'wanted' FROM tenants WHERE desired_state = 'RUNNING';
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;

ALTER TABLE tenant_spans ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_spans FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenant_spans
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid)
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_spans TO flowhq_app;

CREATE POLICY ops_read ON tenant_spans FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
GRANT SELECT ON tenant_spans TO flowhq_ops;
GRANT SELECT (from_me, source, reason) ON inbox TO flowhq_ops;

CREATE VIEW ops_seen AS
SELECT t.id AS tenant_id, i.source, i.state, i.reason, i.created_at
FROM tenants t JOIN inbox i ON i.tenant_id = t.id AND NOT i.from_me;

CREATE VIEW ops_replies AS
SELECT t.id AS tenant_id, o.state, o.planned_at
FROM tenants t JOIN outbox o ON o.tenant_id = t.id;

CREATE VIEW ops_spans AS
SELECT s.tenant_id, s.kind, s.began_at, s.until_at
FROM tenant_spans s;

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_seen OWNER TO flowhq_ops;
    ALTER VIEW ops_replies OWNER TO flowhq_ops;
    ALTER VIEW ops_spans OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
