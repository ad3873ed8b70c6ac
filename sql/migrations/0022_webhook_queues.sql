-- How many events wait for webhooks, and how many were given up, in one reading.

CREATE INDEX webhook_deliveries_dead_idx ON webhook_deliveries (queued_at) WHERE state = 'dead';

CREATE VIEW ops_webhook_queues AS
SELECT
    CASE WHEN w.enabled THEN 'waiting' ELSE 'disabled' END AS state,
    sum(d.events)::bigint AS events, min(d.oldest_at) AS oldest_at
FROM (
    SELECT p.endpoint_id, count(*) AS events, min(p.queued_at) AS oldest_at
    FROM webhook_deliveries p WHERE p.state = 'pending' GROUP BY p.endpoint_id
) AS d
JOIN webhook_endpoints w ON w.id = d.endpoint_id
GROUP BY w.enabled
UNION ALL
SELECT 'dead', count(*), min(x.queued_at)
FROM webhook_deliveries x WHERE x.state = 'dead' HAVING count(*) > 0;

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_webhook_queues OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
