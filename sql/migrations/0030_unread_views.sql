-- Two views that nothing reads go, and with them the right to read what only one of them showed.

SET LOCAL ROLE flowhq_ops;
DROP VIEW ops_events, ops_backlog;
RESET ROLE;

REVOKE SELECT ON tenant_events FROM flowhq_ops;
GRANT SELECT (id, at) ON tenant_events TO flowhq_ops;
