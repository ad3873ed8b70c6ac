-- Up to when every message of every chat is recorded, by the platform's clock: where the next
-- catching up begins.

ALTER TABLE whatsapp_sessions ADD COLUMN caught_up_to timestamptz;
