-- Why a message was answered, or not, can be told afterwards; what was given up can be tried again.

ALTER TABLE inbox ADD COLUMN trail jsonb, ADD COLUMN requeued_at timestamptz;
ALTER TABLE outbox
    ADD COLUMN accepted_at timestamptz,
    ADD COLUMN delivered_at timestamptz,
    ADD COLUMN read_at timestamptz;

CREATE INDEX inbox_dead_idx ON inbox (tenant_id, log_at, log_id) WHERE state = 'dead';
CREATE INDEX outbox_dead_idx ON outbox (tenant_id, log_at, log_id) WHERE state = 'dead';
