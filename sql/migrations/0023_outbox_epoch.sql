-- Which start of the runner began a sending was never asked for.

ALTER TABLE outbox DROP COLUMN epoch;
