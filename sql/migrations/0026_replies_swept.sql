-- Up to when the texts of a tenant's replies were taken away, so that not every old one is looked at
-- each day. Not all of them go in time: one that is not settled keeps the mark where it is.

ALTER TABLE retention_marks ADD COLUMN replies_to timestamptz;
