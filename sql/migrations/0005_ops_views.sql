-- What an operator sees of all tenants at once: never a message, a code or a payload.

-- The test of current_user leaves out those who are merely members of the role: the owner. As a
-- subquery it is run once, and the planner does not take it for a rare match.
CREATE POLICY ops_read ON tenants FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON tenant_configs FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON whatsapp_sessions FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON worker_processes FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON tenant_events FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON inbox FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON outbox FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));

GRANT SELECT ON tenants, tenant_configs, worker_processes, tenant_events TO flowhq_ops;
GRANT SELECT (tenant_id, state, last_seen_at, paired_at, own_jid)
    ON whatsapp_sessions TO flowhq_ops;
GRANT SELECT (tenant_id, state, ord, created_at) ON inbox TO flowhq_ops;
GRANT SELECT (tenant_id, state, id, planned_at) ON outbox TO flowhq_ops;

CREATE VIEW ops_tenants AS
SELECT
    t.id, t.name, t.phone_number, t.status, t.desired_state, t.reason, t.detail, t.paused_at,
    t.created_at, t.updated_at,
    c.template_type, c.business_name, c.language, c.timezone, c.hours_json, c.details,
    s.state AS session_state, s.last_seen_at, s.paired_at, s.own_jid,
    w.name AS worker_name, w.status AS worker_status, w.last_error, w.restarts, w.started_at
FROM tenants t
LEFT JOIN tenant_configs c ON c.tenant_id = t.id
LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id
LEFT JOIN worker_processes w ON w.tenant_id = t.id;

CREATE VIEW ops_events AS
SELECT
    e.id, e.tenant_id, e.from_status, e.to_status, e.session, e.worker, e.reason, e.event,
    e.actor, e.detail, e.at
FROM tenant_events e;

CREATE VIEW ops_backlog AS
SELECT
    t.id AS tenant_id,
    (SELECT count(*) FROM inbox i
        WHERE i.tenant_id = t.id AND i.state IN ('new', 'retry')) AS inbox_waiting,
    (SELECT min(i.created_at) FROM inbox i
        WHERE i.tenant_id = t.id AND i.state IN ('new', 'retry')) AS inbox_oldest_at,
    (SELECT count(*) FROM outbox o
        WHERE o.tenant_id = t.id AND o.state IN ('planned', 'sending', 'unknown'))
        AS outbox_unsettled,
    (SELECT min(o.planned_at) FROM outbox o
        WHERE o.tenant_id = t.id AND o.state IN ('planned', 'sending', 'unknown'))
        AS outbox_oldest_at
FROM tenants t;

-- A new owner must be able to create in the schema, for the moment of the change only.
DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_tenants OWNER TO flowhq_ops;
    ALTER VIEW ops_events OWNER TO flowhq_ops;
    ALTER VIEW ops_backlog OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
