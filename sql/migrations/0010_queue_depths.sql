-- How many messages wait where, of all tenants in one reading.

CREATE VIEW ops_queues AS
SELECT i.tenant_id, 'inbox' AS queue, count(*) AS messages, min(i.created_at) AS oldest_at
FROM inbox i WHERE i.state IN ('new', 'retry') GROUP BY i.tenant_id
UNION ALL
SELECT i.tenant_id, 'dead', count(*), min(i.created_at)
FROM inbox i WHERE i.state = 'dead' GROUP BY i.tenant_id
UNION ALL
SELECT o.tenant_id, 'outbox', count(*), min(o.planned_at)
FROM outbox o WHERE o.state IN ('planned', 'sending', 'unknown') GROUP BY o.tenant_id
UNION ALL
SELECT o.tenant_id, 'dead', count(*), min(o.planned_at)
FROM outbox o WHERE o.state = 'dead' GROUP BY o.tenant_id;

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_queues OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
