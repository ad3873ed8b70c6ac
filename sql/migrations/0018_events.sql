-- What happened, told outward: events in one order, endpoints that want them, deliveries to these.

CREATE TYPE event_type AS ENUM (
    'tenant.state', 'message.in', 'message.out', 'message.ack', 'handoff', 'incident'
);
CREATE TYPE delivery_state AS ENUM ('pending', 'delivered', 'dead');

CREATE SEQUENCE events_order;
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    seq bigint,
    tenant_id uuid,
    type event_type NOT NULL,
    log_id uuid,
    log_at timestamptz,
    data jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_seq_key UNIQUE (seq),
    CONSTRAINT events_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT events_tenant_id_check CHECK (tenant_id IS NOT NULL OR type = 'incident')
);
CREATE INDEX events_tenant_id_idx ON events (tenant_id, seq);

CREATE TABLE webhook_endpoints (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid,
    url text NOT NULL,
    types event_type[] NOT NULL DEFAULT '{}',
    secret bytea NOT NULL,
    old_secret bytea,
    old_secret_until timestamptz,
    enabled boolean NOT NULL DEFAULT true,
    disabled_reason text NOT NULL DEFAULT '',
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_endpoints_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX webhook_endpoints_tenant_id_idx ON webhook_endpoints (tenant_id);
CREATE TRIGGER webhook_endpoints_updated_at BEFORE UPDATE ON webhook_endpoints
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE webhook_deliveries (
    event_seq bigint NOT NULL,
    endpoint_id uuid NOT NULL,
    tenant_id uuid,
    state delivery_state NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0,
    queued_at timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz,
    attempted_at timestamptz,
    done_at timestamptz,
    status integer,
    error text NOT NULL DEFAULT '',
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (event_seq, endpoint_id),
    CONSTRAINT webhook_deliveries_event_seq_fkey
        FOREIGN KEY (event_seq) REFERENCES events (seq) ON DELETE CASCADE,
    CONSTRAINT webhook_deliveries_endpoint_id_fkey
        FOREIGN KEY (endpoint_id) REFERENCES webhook_endpoints (id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_endpoint_id_idx ON webhook_deliveries (endpoint_id, event_seq);
CREATE INDEX webhook_deliveries_pending_idx
    ON webhook_deliveries (endpoint_id, tenant_id, event_seq) WHERE state = 'pending';

CREATE FUNCTION tell_message() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (tenant_id, type, log_id, log_at, data) VALUES (
        NEW.tenant_id,
        CASE WHEN TG_OP = 'UPDATE' THEN 'message.ack' WHEN NEW.direction = 'IN' THEN 'message.in'
            ELSE 'message.out' END::event_type,
        NEW.id, NEW.created_at, jsonb_build_object('status', NEW.status)
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER message_logs_told AFTER INSERT ON message_logs FOR EACH ROW
    WHEN (coalesce(current_setting('app.restoring', true), '') <> 'on')
    EXECUTE FUNCTION tell_message();
CREATE TRIGGER message_logs_told_on AFTER UPDATE OF status ON message_logs FOR EACH ROW
    WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION tell_message();

CREATE FUNCTION tell_state() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (tenant_id, type, data) VALUES (
        NEW.tenant_id, 'tenant.state', jsonb_build_object(
            'from_status', NEW.from_status, 'status', NEW.to_status, 'session', NEW.session,
            'worker', NEW.worker, 'reason', NEW.reason, 'detail', NEW.detail, 'event', NEW.event,
            'actor', NEW.actor
        )
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER tenant_events_told AFTER INSERT ON tenant_events FOR EACH ROW
    WHEN (
        NEW.event NOT IN (
            'person_took_over', 'chat_muted', 'chat_resumed', 'content_differed',
            'message_requeued', 'number_changed', 'restored'
        ) AND coalesce(current_setting('app.restoring', true), '') <> 'on'
    )
    EXECUTE FUNCTION tell_state();

CREATE FUNCTION tell_handoff() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    v_kind text := CASE
        WHEN NEW.bot_paused_until > now() AND coalesce(OLD.bot_paused_until <= now(), true)
            THEN 'taken_over'
        WHEN NEW.muted_until > now() AND coalesce(OLD.muted_until <= now(), true) THEN 'muted'
        WHEN NEW.bot_paused_until IS NULL AND OLD.bot_paused_until > now()
            OR NEW.muted_until IS NULL AND OLD.muted_until > now() THEN 'resumed'
    END;
BEGIN
    IF v_kind IS NOT NULL THEN
        INSERT INTO events (tenant_id, type, data) VALUES (
            NEW.tenant_id, 'handoff', jsonb_build_object(
                'kind', v_kind, 'chat_id', NEW.id, 'until', CASE v_kind
                    WHEN 'taken_over' THEN NEW.bot_paused_until
                    WHEN 'muted' THEN NEW.muted_until
                END
            )
        );
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER conversations_told AFTER UPDATE OF bot_paused_until, muted_until ON conversations
    FOR EACH ROW WHEN (
        OLD.bot_paused_until IS DISTINCT FROM NEW.bot_paused_until
        OR OLD.muted_until IS DISTINCT FROM NEW.muted_until
    )
    EXECUTE FUNCTION tell_handoff();

CREATE FUNCTION number_events(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('number_events', 0));
    WITH numbered AS MATERIALIZED (
        SELECT id, nextval('events_order') AS seq
        FROM (SELECT id FROM events WHERE seq IS NULL ORDER BY id LIMIT p_limit) AS waiting
    ), placed AS (
        UPDATE events e SET seq = n.seq FROM numbered n WHERE e.id = n.id
        RETURNING e.seq, e.tenant_id, e.type
    ), due AS (
        INSERT INTO webhook_deliveries (event_seq, endpoint_id, tenant_id)
        SELECT p.seq, w.id, p.tenant_id FROM placed p JOIN webhook_endpoints w
            ON w.enabled AND (w.tenant_id IS NULL OR w.tenant_id = p.tenant_id)
            AND (cardinality(w.types) = 0 OR p.type = ANY (w.types))
    )
    SELECT count(*) INTO v_count FROM placed;
    RETURN v_count;
END
$$;

CREATE FUNCTION replay_events(
    p_endpoint uuid, p_since timestamptz, p_limit integer,
    OUT o_count integer, OUT o_last timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    WITH wanted AS (
        SELECT e.seq, e.tenant_id, e.at FROM webhook_endpoints w JOIN events e
            ON e.seq IS NOT NULL AND e.at >= p_since
            AND (w.tenant_id IS NULL OR w.tenant_id = e.tenant_id)
            AND (cardinality(w.types) = 0 OR e.type = ANY (w.types))
        WHERE w.id = p_endpoint ORDER BY e.seq LIMIT p_limit
    ), again AS (
        INSERT INTO webhook_deliveries AS d (event_seq, endpoint_id, tenant_id)
        SELECT seq, p_endpoint, tenant_id FROM wanted
        ON CONFLICT (event_seq, endpoint_id) DO UPDATE SET
            state = 'pending', attempts = 0, queued_at = now(), next_at = NULL, done_at = NULL
    )
    SELECT count(*), max(at) INTO o_count, o_last FROM wanted;
END
$$;

CREATE FUNCTION prune_events(p_before timestamptz, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    DELETE FROM events e USING (SELECT id FROM events ORDER BY id LIMIT p_limit) AS oldest
    WHERE e.id = oldest.id AND e.at < p_before;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

DO $$
DECLARE
    v_table text;
    v_mine text := '(SELECT nullif(current_setting(''app.tenant_id'', true), ''''))::uuid';
BEGIN
    FOREACH v_table IN ARRAY ARRAY['events', 'webhook_endpoints', 'webhook_deliveries'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format(
            'CREATE POLICY tenant_isolation ON %I
                USING (tenant_id = %s) WITH CHECK (tenant_id = %s)',
            v_table, v_mine, v_mine
        );
        EXECUTE format(
            'CREATE POLICY installation_rows ON %I TO flowhq_app
                USING (tenant_id IS NULL AND %s IS NULL)
                WITH CHECK (tenant_id IS NULL AND %s IS NULL)',
            v_table, v_mine, v_mine
        );
        EXECUTE format(
            'CREATE POLICY ops_work ON %I TO flowhq_ops
                USING ((SELECT current_user = ''flowhq_ops''))
                WITH CHECK ((SELECT current_user = ''flowhq_ops''))',
            v_table
        );
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO flowhq_app', v_table);
    END LOOP;
END
$$;
GRANT SELECT, DELETE ON events TO flowhq_ops;
GRANT UPDATE (seq) ON events TO flowhq_ops;
GRANT SELECT (id, tenant_id, types, enabled) ON webhook_endpoints TO flowhq_ops;
GRANT SELECT, INSERT, UPDATE ON webhook_deliveries TO flowhq_ops;
GRANT USAGE ON SEQUENCE events_order TO flowhq_ops;

CREATE VIEW ops_feed AS
SELECT e.seq, e.tenant_id, e.type, e.at FROM events e WHERE e.seq IS NOT NULL;

CREATE VIEW ops_deliveries AS
SELECT
    d.event_seq, d.endpoint_id, w.tenant_id AS owner_id, w.enabled, d.tenant_id, e.type, e.at,
    d.state, d.attempts, d.queued_at, d.next_at, d.attempted_at, d.done_at, d.status, d.error
FROM webhook_deliveries d
JOIN webhook_endpoints w ON w.id = d.endpoint_id
JOIN events e ON e.seq = d.event_seq;

DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
    v_function text;
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_feed OWNER TO flowhq_ops;
    ALTER VIEW ops_deliveries OWNER TO flowhq_ops;
    FOREACH v_function IN ARRAY ARRAY[
        'number_events(integer)', 'replay_events(uuid, timestamptz, integer)',
        'prune_events(timestamptz, integer)'
    ] LOOP
        EXECUTE 'REVOKE ALL ON FUNCTION ' || v_function || ' FROM PUBLIC';
        EXECUTE 'GRANT EXECUTE ON FUNCTION ' || v_function || ' TO flowhq_app';
        EXECUTE 'ALTER FUNCTION ' || v_function || ' OWNER TO flowhq_ops';
    END LOOP;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;
