-- What has no number yet, found without a look at what has one, whatever the statistics say.
CREATE INDEX events_waiting_idx ON events (id) WHERE seq IS NULL;
