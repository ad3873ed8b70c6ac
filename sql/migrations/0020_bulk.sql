-- One verb over many tenants: the runs, and what became of each tenant.

CREATE TABLE bulk_runs (
    id uuid NOT NULL,
    principal text NOT NULL,          -- who asked
    verb text NOT NULL,
    dry_run boolean NOT NULL,
    tenants uuid[] NOT NULL,          -- chosen, in this order
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,             -- NULL: in progress, or cut off by the end of the daemon
    CONSTRAINT bulk_runs_pkey PRIMARY KEY (id)
);
-- serves: letting go of old runs (bulk.DROP_OLD_RUNS)
CREATE INDEX bulk_runs_created_at_idx ON bulk_runs (created_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_runs TO flowhq_app;

CREATE TABLE bulk_results (
    run_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    outcome text NOT NULL,            -- flowhq.db.bulk.Outcome
    problem text NOT NULL DEFAULT '', -- the name of the refusal
    detail text NOT NULL DEFAULT '',
    next_step text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT bulk_results_pkey PRIMARY KEY (tenant_id, run_id),
    CONSTRAINT bulk_results_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT bulk_results_run_id_fkey
        FOREIGN KEY (run_id) REFERENCES bulk_runs (id) ON DELETE CASCADE
);
-- serves: a run's results (bulk.FETCH_ITEMS), and the cascade from bulk_runs
CREATE INDEX bulk_results_run_id_idx ON bulk_results (run_id);

ALTER TABLE bulk_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulk_results FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON bulk_results
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid)
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), ''))::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_results TO flowhq_app;

CREATE POLICY ops_read ON bulk_results FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
GRANT SELECT ON bulk_results TO flowhq_ops;

CREATE VIEW ops_bulk_results AS
SELECT r.run_id, r.tenant_id, r.outcome, r.problem, r.detail, r.next_step, r.at
FROM bulk_results r;

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_bulk_results OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
