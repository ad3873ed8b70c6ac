-- Flow HQ's whole schema, to be read as documentation.
--
-- What runs is migrations/NNNN_*.sql (flowhq/db/migrate.py); a test builds one database from this
-- file and one from the migrations and compares their catalogs. PostgreSQL 14 or newer; no
-- extension is needed.
--
-- Rules that hold everywhere:
--   * Each row with a tenant_id is one tenant's. Row-level security is the second wall behind
--     WHERE tenant_id = $1: see the end of this file.
--   * Names of unique and check constraints are API: flowhq/db/faults.py turns them into the field
--     that an answer names.
--   * Times are timestamptz by the database's clock. Only wa_timestamp, last_timestamp and the
--     last_*_at of a conversation come from the platform, never later than now().
--   * Ids that WhatsApp gives (jid, lid, message id) are text, as the platform spells them.

-- == Tenants ======================================================================================

-- NEW -> QR_PENDING      the worker is started, a code is to be scanned
-- QR_PENDING -> ACTIVE   connected
-- ACTIVE -> PAUSED       the admin pauses; ACTIVE again when the admin resumes
-- any -> ERROR           disconnected for good, stale or crashed; the reason says which
-- ERROR -> QR_PENDING    the worker is restarted
CREATE TYPE tenant_status AS ENUM ('NEW', 'QR_PENDING', 'ACTIVE', 'PAUSED', 'ERROR');

-- What the operator wants: START and STOP set it, no failure ever does.
CREATE TYPE desired_state AS ENUM ('STOPPED', 'RUNNING');

-- Which catalogue of replies the bot speaks.
CREATE TYPE template_type AS ENUM ('BOOKING', 'ECOMMERCE', 'SUPPORT');

-- Swahili, English.
CREATE TYPE language AS ENUM ('SW', 'EN');

-- DISCONNECTED -> QR_READY   a code is on show (last_qr)
-- QR_READY -> CONNECTED      the phone scanned it; the code is cleared
-- any -> DISCONNECTED        connection lost, logged out, codes ran out, stopped
CREATE TYPE session_state AS ENUM ('DISCONNECTED', 'QR_READY', 'CONNECTED');

-- STOPPED -> RUNNING   started: by the admin, or by the supervisor after a start of the daemon
-- RUNNING -> STOPPED   stopped
-- RUNNING -> ERROR     gave up, or no heartbeat for two minutes; last_error says why
CREATE TYPE worker_status AS ENUM ('STOPPED', 'RUNNING', 'ERROR');

-- Keeps updated_at on every table that has one.
CREATE FUNCTION set_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- One row: who this installation is, and the secret from which each tenant's key for message ids
-- is derived. The application's role has no right to it; a restored backup goes on with it. The
-- secret is not sealed: it opens nothing, and the ids made from it stand in outbox beside it.
CREATE TABLE installation (
    only_row boolean NOT NULL DEFAULT true,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    data_key bytea,                   -- its own data key, wrapped; NULL before the first start
    master_key_id text,               -- which master key wraps all data keys (flowhq/vault.py)
    CONSTRAINT installation_pkey PRIMARY KEY (only_row),
    CONSTRAINT installation_only_row_check CHECK (only_row),
    CONSTRAINT installation_secret_check CHECK (octet_length(secret) = 32),
    CONSTRAINT installation_data_key_check CHECK ((data_key IS NULL) = (master_key_id IS NULL))
);

-- A customer with one number. Everything else of the tenant goes with its row.
CREATE TABLE tenants (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    phone_number text,                                       -- E.164, the number of the bot;
                                                             -- NULL until an owner's first setup
                                                             -- request is approved: not startable
    status tenant_status NOT NULL DEFAULT 'NEW',             -- observed
    desired_state desired_state NOT NULL DEFAULT 'STOPPED',  -- wanted
    reason text NOT NULL DEFAULT 'NOT_STARTED',              -- flowhq.model.Reason
    detail text NOT NULL DEFAULT '',                         -- the same for a person, one line
    paused_at timestamptz,                                   -- set while the admin's pause holds
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_phone_number_key UNIQUE (phone_number),
    CONSTRAINT tenants_name_check CHECK (name <> ''),
    CONSTRAINT tenants_phone_number_check CHECK (phone_number ~ '^\+[1-9][0-9]{6,14}$')
);
-- serves: the list of tenants, newest first (tenantlists.FIND_TENANTS)
CREATE INDEX tenants_created_at_idx ON tenants (created_at, id);
CREATE TRIGGER tenants_updated_at BEFORE UPDATE ON tenants
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- The key that seals a tenant's secrets (the columns called sealed), itself wrapped by the master
-- key, which is never in here. Made when it is first needed; without its row nothing opens again.
CREATE TABLE data_keys (
    tenant_id uuid NOT NULL,
    wrapped bytea NOT NULL,
    message_key bytea,                -- sealed; of a restored tenant: its key for message ids
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_keys_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT data_keys_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);

-- What the bot says and when, one row a tenant.
CREATE TABLE tenant_configs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    template_type template_type NOT NULL DEFAULT 'BOOKING',
    business_name text NOT NULL,
    language language NOT NULL DEFAULT 'SW',
    hours_json jsonb,                                        -- NULL: always open
    timezone text NOT NULL DEFAULT 'Africa/Dar_es_Salaam',   -- IANA name, for hours_json
    details jsonb NOT NULL DEFAULT '{}',                     -- services, prices, contact ...
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- text_days, metadata_days, payload_days; what is missing is as the installation has it
    retention jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT tenant_configs_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_configs_tenant_id_key UNIQUE (tenant_id),
    CONSTRAINT tenant_configs_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT tenant_configs_details_check CHECK (jsonb_typeof(details) = 'object'),
    CONSTRAINT tenant_configs_retention_check CHECK (jsonb_typeof(retention) = 'object')
);
CREATE TRIGGER tenant_configs_updated_at BEFORE UPDATE ON tenant_configs
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- The pairing record, one row a tenant. The keys of the pairing live in the browser profile.
CREATE TABLE whatsapp_sessions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    state session_state NOT NULL DEFAULT 'DISCONNECTED',
    last_qr bytea,                    -- sealed: PNG data URL; whoever has it can link a device
    last_qr_text bytea,               -- sealed: what the picture encodes
    last_qr_expires_at timestamptz,   -- an estimate
    last_seen_at timestamptz,         -- last successful probe, every 30 s while connected
    paired_at timestamptz,            -- NULL: never paired, or unlinked since
    own_jid text,
    own_lid text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    caught_up_to timestamptz,         -- the platform's clock: nothing older is missing
    CONSTRAINT whatsapp_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT whatsapp_sessions_tenant_id_key UNIQUE (tenant_id),
    CONSTRAINT whatsapp_sessions_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE TRIGGER whatsapp_sessions_updated_at BEFORE UPDATE ON whatsapp_sessions
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- What runs the tenant, one row a tenant: a task of the daemon with a browser of its own.
CREATE TABLE worker_processes (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    name text NOT NULL,               -- the process manager's name of the original; worker-<tenant>
    status worker_status NOT NULL DEFAULT 'STOPPED',
    last_error text,                  -- cleared when it runs again
    restarts integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT worker_processes_pkey PRIMARY KEY (id),
    CONSTRAINT worker_processes_tenant_id_key UNIQUE (tenant_id),
    CONSTRAINT worker_processes_name_key UNIQUE (name),
    CONSTRAINT worker_processes_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT worker_processes_restarts_check CHECK (restarts >= 0)
);
CREATE TRIGGER worker_processes_updated_at BEFORE UPDATE ON worker_processes
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE FUNCTION default_worker_name() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.name := coalesce(NEW.name, 'worker-' || NEW.tenant_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER worker_processes_name BEFORE INSERT ON worker_processes
    FOR EACH ROW EXECUTE FUNCTION default_worker_name();

-- One row for each change of a tenant's status or reason: who, why, from where to where. What
-- happened in a chat (raise_event) stands here too, with the status as it was.
CREATE TABLE tenant_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    from_status tenant_status NOT NULL,
    to_status tenant_status NOT NULL,
    session session_state NOT NULL,   -- after the change
    worker worker_status NOT NULL,    -- after the change
    reason text NOT NULL,
    event text NOT NULL,              -- flowhq.bot.lifecycle.Event, flowhq.model.ChatEvent
    actor text NOT NULL,              -- admin, daemon ...
    detail text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_events_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_events_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
-- serves: a tenant's history, newest first (states.FETCH_EVENTS)
CREATE INDEX tenant_events_tenant_id_idx ON tenant_events (tenant_id, id);

-- wanted      from the wish to run to the wish to stop
-- connected   from a connection to its last proof: each heartbeat moves until_at on
CREATE TYPE span_kind AS ENUM ('wanted', 'connected');

-- Since when and for how long: the time connected against the time wanted. A crash costs the time
-- since the last heartbeat.
CREATE TABLE tenant_spans (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    kind span_kind NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    until_at timestamptz,             -- NULL: wanted still
    CONSTRAINT tenant_spans_pkey PRIMARY KEY (id),
    CONSTRAINT tenant_spans_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
-- serves: the span that goes on (sessions.TOUCH, states.SAVE, keep_wanted), and the sums
-- (accounting.SPANS)
CREATE INDEX tenant_spans_tenant_id_idx ON tenant_spans (tenant_id, kind, began_at);

CREATE FUNCTION keep_wanted() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.desired_state = 'RUNNING' THEN
        INSERT INTO tenant_spans (tenant_id, kind) VALUES (NEW.id, 'wanted');
    ELSE
        UPDATE tenant_spans SET until_at = now()
        WHERE tenant_id = NEW.id AND kind = 'wanted' AND until_at IS NULL;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tenants_wanted AFTER UPDATE OF desired_state ON tenants
    FOR EACH ROW WHEN (OLD.desired_state <> NEW.desired_state) EXECUTE FUNCTION keep_wanted();
CREATE TRIGGER tenants_wanted_at_once AFTER INSERT ON tenants
    FOR EACH ROW WHEN (NEW.desired_state = 'RUNNING') EXECUTE FUNCTION keep_wanted();

-- == Who wrote, in which chat, and what ===========================================================

-- As the original: IN from a customer, OUT from the bot or from a person at the phone.
CREATE TYPE message_direction AS ENUM ('IN', 'OUT');

-- What a message is. Only text (and captions) has a message_text; the rest is described in content.
CREATE TYPE message_type AS ENUM (
    'text', 'image', 'video', 'document', 'audio', 'sticker', 'interactive', 'reaction',
    'location', 'contacts', 'poll', 'order', 'template', 'unsupported'
);

-- Declared in the order of ascent: a status is only ever raised, by greatest(old, new).
-- received    incoming; never changes
-- queued      outgoing: planned, in the outbox
-- cancelled   taken back before it was sent: a person took over the chat
-- sent        the server took it (ack 1), or a person typed it at the phone
-- failed      given up; over queued or sent only (a later proof of delivery wins)
-- delivered   ack 2, read ack 3, played ack 4
CREATE TYPE message_status AS ENUM (
    'received', 'queued', 'cancelled', 'sent', 'failed', 'delivered', 'read', 'played'
);

-- A person, by our own id: a phone number may be unknown for ever (WhatsApp's LID, the Cloud API's
-- business-scoped user id). Rows merge when a mapping appears (merge_contacts).
CREATE TABLE contacts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    phone_number text,                -- E.164
    lid text,                         -- <digits>@lid
    bsuid text,
    name text,                        -- given by the tenant's people
    push_name text,                   -- chosen by the contact
    opted_out_at timestamptz,         -- said stop; NULL again when they opt in
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT contacts_pkey PRIMARY KEY (id),
    CONSTRAINT contacts_phone_number_key UNIQUE (tenant_id, phone_number),
    CONSTRAINT contacts_lid_key UNIQUE (tenant_id, lid),
    CONSTRAINT contacts_bsuid_key UNIQUE (tenant_id, bsuid),
    CONSTRAINT contacts_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE TRIGGER contacts_updated_at BEFORE UPDATE ON contacts
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- One chat of one tenant. The 24-hour window is derived (last_customer_message_at + 24 h), never
-- stored as a flag.
CREATE TABLE conversations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    chat_key text NOT NULL,                  -- the jid that the chat was first seen with
    contact_id uuid NOT NULL,
    last_message text,                       -- its first 1,000 characters, or [type]
    last_message_at timestamptz,
    last_customer_message_at timestamptz,
    last_person_message_at timestamptz,      -- typed at the phone: not by the bot
    last_outgoing_at timestamptz,            -- by the bot (planned) or a person
    bot_paused_until timestamptz,            -- a person took over; NULL again when resumed
    bot_state jsonb NOT NULL DEFAULT '{}',   -- the responder's memory of the last turn
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    muted_until timestamptz,                 -- two bots were answering each other
    CONSTRAINT conversations_pkey PRIMARY KEY (id),
    CONSTRAINT conversations_chat_key_key UNIQUE (tenant_id, chat_key),
    CONSTRAINT conversations_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT conversations_contact_id_fkey
        FOREIGN KEY (contact_id) REFERENCES contacts (id) ON DELETE CASCADE,
    CONSTRAINT conversations_last_message_check CHECK (char_length(last_message) <= 1000)
);
-- serves: merge_contacts, and the cascade from contacts
CREATE INDEX conversations_contact_id_idx ON conversations (contact_id);
-- serves: a tenant's chats, the liveliest first
CREATE INDEX conversations_last_message_at_idx
    ON conversations (tenant_id, last_message_at DESC NULLS LAST);
-- serves: a tenant's chats, the newest first (chats.LIST_ALL)
CREATE INDEX conversations_created_at_idx ON conversations (tenant_id, created_at, id);
-- serves: the chats in which the bot was silenced (chats.LIST_PAUSED, chats.LIST_MUTED)
CREATE INDEX conversations_silenced_idx ON conversations (tenant_id, created_at, id)
    WHERE bot_paused_until IS NOT NULL OR muted_until IS NOT NULL;
CREATE TRIGGER conversations_updated_at BEFORE UPDATE ON conversations
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- The ledger: every message in and out. The first eight columns are the original's. An outgoing
-- row of the bot is written when the message is planned, and its status follows the acks.
-- One partition a UTC day of created_at, made 14 days ahead (flowhq/db/partitions.py).
CREATE TABLE message_logs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    direction message_direction NOT NULL,
    from_number text NOT NULL,        -- E.164 when known, else the jid
    to_number text NOT NULL,          -- E.164 when known, else the jid
    message_text text NOT NULL,       -- '' for what has no text
    wa_message_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    conversation_id uuid,
    type message_type NOT NULL DEFAULT 'text',
    content jsonb NOT NULL DEFAULT '{}',
    status message_status NOT NULL,
    wa_timestamp timestamptz,         -- the platform's time of it
    CONSTRAINT message_logs_pkey PRIMARY KEY (id, created_at),
    CONSTRAINT message_logs_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT message_logs_conversation_id_fkey
        FOREIGN KEY (conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
) PARTITION BY RANGE (created_at);
-- serves: a tenant's log, newest first (logs.log_statement); cascade from tenants
CREATE INDEX message_logs_tenant_id_created_at_idx ON message_logs (tenant_id, created_at);
-- serves: one chat's messages; merge_chats; the cascade from conversations
CREATE INDEX message_logs_conversation_id_created_at_idx
    ON message_logs (conversation_id, created_at);
-- Takes what no day's partition takes, so that an insert never fails for want of one.
CREATE TABLE message_logs_default PARTITION OF message_logs DEFAULT;

-- == What guards the processing ===================================================================

-- How a message reached us: as an event, by reading the history after an absence, by a webhook.
CREATE TYPE message_source AS ENUM ('live', 'catchup', 'webhook');

-- new -> done       a step answered it, or decided that there is nothing to say
-- new -> skipped    recorded without work to do (echo, paused, too old); the reason says why
-- new -> retry      a step failed; again at next_at, after 2, 10, 60 and 300 s
-- retry -> dead     the fifth attempt failed
-- dead -> new       a person asked for it again
CREATE TYPE inbox_state AS ENUM ('new', 'retry', 'done', 'skipped', 'dead');

-- Declared in the order of proof: greatest(old, new) never goes back, and an ack beats a guess.
-- planned     decided, not begun; also: refused once and to be tried again at next_at
-- sending     committed before the page is called: after a crash it may be out or not
-- unknown     the call ended without an answer: look it up, never repeat blindly
-- dead        given up; a person may ask for it again: unknown, or planned if it was never begun
-- cancelled   taken back before it was begun, or instead of sending it once more
-- accepted    the server has it (ack 1)
-- delivered   ack 2, read ack 3
CREATE TYPE outbox_state AS ENUM (
    'planned', 'sending', 'unknown', 'dead', 'cancelled', 'accepted', 'delivered', 'read'
);

-- Every message seen, once: the dedup that survives a restart. Keyed by the bare id and its
-- direction, since one message can be shown under two jids.
CREATE TABLE inbox (
    tenant_id uuid NOT NULL,
    from_me boolean NOT NULL,
    wa_message_id text NOT NULL,
    chat_key text NOT NULL,           -- of a settled row: as it was then
    wa_timestamp timestamptz NOT NULL,
    ord bigint GENERATED ALWAYS AS IDENTITY,   -- the order within a chat
    source message_source NOT NULL,
    state inbox_state NOT NULL,
    reason text NOT NULL DEFAULT '',  -- why skipped, or the intent answered
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz,              -- retry: not before
    error text,
    payload jsonb,                    -- what rebuilds the message; dropped once it is settled
    log_id uuid NOT NULL,             -- its row in message_logs ...
    log_at timestamptz NOT NULL,      -- ... and that row's created_at, which names the partition
    created_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    digest bytea,                     -- of kind, text and content: what a duplicate must have too
    differed_at timestamptz,          -- a duplicate had not; the first content stays
    trail jsonb,                      -- what the step looked at (flowhq.model.Trail)
    requeued_at timestamptz,          -- a person asked for it again after it was given up
    CONSTRAINT inbox_pkey PRIMARY KEY (tenant_id, from_me, wa_message_id),
    CONSTRAINT inbox_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT inbox_payload_check CHECK (state IN ('done', 'skipped') OR payload IS NOT NULL)
);
-- serves: what a start has to go on with (inbox.WAITING)
CREATE INDEX inbox_waiting_idx ON inbox (tenant_id, ord) WHERE state IN ('new', 'retry');
-- serves: refilling one chat's lane (inbox.WAITING_IN_CHAT)
CREATE INDEX inbox_waiting_chat_idx ON inbox (tenant_id, chat_key, ord)
    WHERE state IN ('new', 'retry');
-- serves: what came since a time, by what became of it (accounting.SEEN); what is old enough to be
-- deleted (retention.DELETE_INBOX)
CREATE INDEX inbox_created_at_idx ON inbox (tenant_id, created_at);
-- serves: what was given up, the newest first (deadletters.LIST_DEAD)
CREATE INDEX inbox_dead_idx ON inbox (tenant_id, log_at, log_id) WHERE state = 'dead';

-- Every message to send, planned once: (cause, part) is why and which, client_id the id it is sent
-- under, however often. cause: the inbound id, timer:<run>:<node>, api:<request> ...
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    chat_key text NOT NULL,
    to_jid text NOT NULL,
    cause text NOT NULL,
    part integer NOT NULL,
    client_id text NOT NULL,
    body jsonb NOT NULL,              -- {"text": ...}
    intent text NOT NULL DEFAULT '',  -- which answer of the catalogue
    state outbox_state NOT NULL DEFAULT 'planned',
    attempts integer NOT NULL DEFAULT 0,   -- counted by the commit before the attempt
    planned_at timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz NOT NULL DEFAULT now(),   -- not before: rate limit, retry
    sent_at timestamptz,              -- the last time that sending began
    error text,
    log_id uuid NOT NULL,
    log_at timestamptz NOT NULL,
    reason text NOT NULL DEFAULT '',  -- why it was taken back, or is not to be sent once more
    done_at timestamptz,              -- when it was given up or taken back
    accepted_at timestamptz,          -- when each proof was first seen
    delivered_at timestamptz,
    read_at timestamptz,
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT outbox_cause_part_key UNIQUE (tenant_id, cause, part),
    CONSTRAINT outbox_client_id_key UNIQUE (tenant_id, client_id),
    CONSTRAINT outbox_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT outbox_part_check CHECK (part >= 0)
);
-- serves: what is not settled, oldest first (outbox.UNSETTLED)
CREATE INDEX outbox_unsettled_idx ON outbox (tenant_id, id)
    WHERE state IN ('planned', 'sending', 'unknown');
-- serves: what was planned since a time, by what became of it (accounting.REPLIES)
CREATE INDEX outbox_planned_at_idx ON outbox (tenant_id, planned_at);
-- serves: what was given up, the newest first (deadletters.LIST_DEAD)
CREATE INDEX outbox_dead_idx ON outbox (tenant_id, log_at, log_id) WHERE state = 'dead';

-- Every jid under which a chat was seen: @lid and @c.us of one person lead to one chat.
CREATE TABLE chat_aliases (
    tenant_id uuid NOT NULL,
    jid text NOT NULL,
    chat_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT chat_aliases_pkey PRIMARY KEY (tenant_id, jid),
    CONSTRAINT chat_aliases_chat_key_fkey FOREIGN KEY (tenant_id, chat_key)
        REFERENCES conversations (tenant_id, chat_key) ON DELETE CASCADE
);
-- serves: merge_chats, and the cascade from conversations
CREATE INDEX chat_aliases_chat_key_idx ON chat_aliases (tenant_id, chat_key);

-- How far each chat is recorded: catching up starts here, with an overlap.
CREATE TABLE chat_cursors (
    tenant_id uuid NOT NULL,
    chat_key text NOT NULL,
    last_timestamp timestamptz NOT NULL,
    last_wa_message_id text NOT NULL,
    CONSTRAINT chat_cursors_pkey PRIMARY KEY (tenant_id, chat_key),
    CONSTRAINT chat_cursors_chat_key_fkey FOREIGN KEY (tenant_id, chat_key)
        REFERENCES conversations (tenant_id, chat_key) ON DELETE CASCADE
);

-- == What is not kept for ever ====================================================================

-- Up to when the texts of a tenant were taken away: the next time goes on from there.
CREATE TABLE retention_marks (
    tenant_id uuid NOT NULL,
    texts_to timestamptz NOT NULL,    -- of the ledger
    replies_to timestamptz,           -- of the outbox; held up by what is not settled
    CONSTRAINT retention_marks_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT retention_marks_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);

-- running -> done     everything that was old enough is gone
-- running -> failed   the next time goes on where it stopped; also what a crash left behind
CREATE TYPE retention_outcome AS ENUM ('running', 'done', 'failed');

-- One row a day, of the installation; the last two months of them stay.
CREATE TABLE retention_runs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    outcome retention_outcome NOT NULL DEFAULT 'running',
    detail text NOT NULL DEFAULT '',          -- why it failed
    figures jsonb NOT NULL DEFAULT '{}',      -- how many of what are gone
    CONSTRAINT retention_runs_pkey PRIMARY KEY (id)
);

-- One row: whether the clock is believed (flowhq/sweeping.py), and when the next run is due.
CREATE TABLE retention_state (
    only_row boolean NOT NULL DEFAULT true,
    seen_at timestamptz,                      -- the clock when it was looked at last
    held_since timestamptz,                   -- it jumped: nothing is deleted for some days
    held_why text NOT NULL DEFAULT '',
    next_at timestamptz,
    CONSTRAINT retention_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT retention_state_only_row_check CHECK (only_row)
);
INSERT INTO retention_state DEFAULT VALUES;

-- == Recording a message ==========================================================================
--
-- record_message is one round trip. Its locks, in this order everywhere, so that nothing waits in
-- a circle: inbox rows, conversation, outbox rows, message_logs; a contact only by who holds its
-- conversations. Linking chats, putting back a dead letter and erasing a contact take an advisory
-- lock of the tenant before any of them.

-- Two rows turned out to be one person: the older row stays. Whoever opted out stays opted out.
CREATE FUNCTION merge_contacts(p_tenant uuid, p_keep uuid, p_drop uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    gone contacts;
BEGIN
    UPDATE conversations SET contact_id = p_keep
    WHERE tenant_id = p_tenant AND contact_id = p_drop;
    DELETE FROM contacts WHERE tenant_id = p_tenant AND id = p_drop RETURNING * INTO gone;
    UPDATE contacts SET
        phone_number = coalesce(phone_number, gone.phone_number),
        lid = coalesce(lid, gone.lid),
        bsuid = coalesce(bsuid, gone.bsuid),
        name = coalesce(name, gone.name),
        push_name = coalesce(push_name, gone.push_name),
        opted_out_at = least(opted_out_at, gone.opted_out_at),
        created_at = least(created_at, gone.created_at)
    WHERE tenant_id = p_tenant AND id = p_keep;
END
$$;

-- Two chats turned out to be one: what waits, what is planned and what was said moves to p_keep.
-- Settled inbox and outbox rows keep the name that the chat had then.
CREATE FUNCTION merge_chats(p_tenant uuid, p_keep text, p_drop text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    kept conversations;
    gone conversations;
BEGIN
    PERFORM FROM inbox
    WHERE tenant_id = p_tenant AND chat_key = p_drop AND state IN ('new', 'retry')
    ORDER BY ord FOR UPDATE;
    PERFORM FROM conversations
    WHERE tenant_id = p_tenant AND chat_key IN (p_keep, p_drop) ORDER BY id FOR UPDATE;
    SELECT * INTO kept FROM conversations WHERE tenant_id = p_tenant AND chat_key = p_keep;
    SELECT * INTO gone FROM conversations WHERE tenant_id = p_tenant AND chat_key = p_drop;
    UPDATE inbox SET chat_key = p_keep
    WHERE tenant_id = p_tenant AND chat_key = p_drop AND state IN ('new', 'retry');
    UPDATE outbox SET chat_key = p_keep
    WHERE tenant_id = p_tenant AND chat_key = p_drop
        AND state IN ('planned', 'sending', 'unknown');
    UPDATE message_logs SET conversation_id = kept.id
    WHERE tenant_id = p_tenant AND conversation_id = gone.id;
    UPDATE chat_aliases SET chat_key = p_keep WHERE tenant_id = p_tenant AND chat_key = p_drop;
    INSERT INTO chat_cursors AS c (tenant_id, chat_key, last_timestamp, last_wa_message_id)
    SELECT tenant_id, p_keep, last_timestamp, last_wa_message_id FROM chat_cursors
    WHERE tenant_id = p_tenant AND chat_key = p_drop
    ON CONFLICT (tenant_id, chat_key) DO UPDATE SET
        last_timestamp = excluded.last_timestamp,
        last_wa_message_id = excluded.last_wa_message_id
    WHERE excluded.last_timestamp > c.last_timestamp;
    UPDATE conversations SET
        last_message = CASE
            WHEN kept.last_message_at >= gone.last_message_at OR gone.last_message_at IS NULL
            THEN kept.last_message ELSE gone.last_message END,
        last_message_at = greatest(kept.last_message_at, gone.last_message_at),
        last_customer_message_at =
            greatest(kept.last_customer_message_at, gone.last_customer_message_at),
        last_person_message_at =
            greatest(kept.last_person_message_at, gone.last_person_message_at),
        last_outgoing_at = greatest(kept.last_outgoing_at, gone.last_outgoing_at),
        bot_paused_until = greatest(kept.bot_paused_until, gone.bot_paused_until),
        muted_until = greatest(kept.muted_until, gone.muted_until),
        bot_state = CASE
            WHEN kept.last_message_at >= gone.last_message_at OR gone.last_message_at IS NULL
            THEN kept.bot_state ELSE gone.bot_state END
    WHERE id = kept.id;
    DELETE FROM conversations WHERE id = gone.id;
    IF kept.contact_id <> gone.contact_id THEN
        PERFORM merge_contacts(p_tenant, kept.contact_id, gone.contact_id);
    END IF;
END
$$;

-- All of p_jids lead to one chat afterwards, made or merged as it takes; p_chat names a new one.
-- Returns the keys of the chats that are gone, NULL if none.
CREATE FUNCTION link_chat(
    p_tenant uuid, p_chat text, p_jids text[], p_phone text, p_lid text
) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_merged text[];
    v_key text;
    v_contact uuid;
    v_other record;
BEGIN
    SELECT c.chat_key, c.contact_id INTO v_key, v_contact FROM conversations c
    WHERE c.tenant_id = p_tenant AND c.chat_key IN (
        SELECT a.chat_key FROM chat_aliases a
        WHERE a.tenant_id = p_tenant AND a.jid = ANY (p_jids)
    ) ORDER BY c.created_at, c.id LIMIT 1;
    FOR v_other IN
        SELECT DISTINCT a.chat_key FROM chat_aliases a
        WHERE a.tenant_id = p_tenant AND a.jid = ANY (p_jids) AND a.chat_key <> v_key
    LOOP
        PERFORM merge_chats(p_tenant, v_key, v_other.chat_key);
        v_merged := array_append(v_merged, v_other.chat_key);
    END LOOP;
    -- As a step does: the conversation before its contact.
    PERFORM FROM conversations
    WHERE tenant_id = p_tenant AND chat_key = v_key FOR NO KEY UPDATE;
    FOR v_other IN
        SELECT k.id FROM contacts k
        WHERE k.tenant_id = p_tenant AND (k.phone_number = p_phone OR k.lid = p_lid)
        ORDER BY k.created_at, k.id
    LOOP
        IF v_contact IS NULL THEN
            v_contact := v_other.id;
        ELSIF v_contact <> v_other.id THEN
            PERFORM merge_contacts(p_tenant, v_contact, v_other.id);
        END IF;
    END LOOP;
    IF v_contact IS NULL THEN
        INSERT INTO contacts (tenant_id, phone_number, lid) VALUES (p_tenant, p_phone, p_lid)
        RETURNING id INTO v_contact;
    ELSE
        UPDATE contacts SET
            phone_number = coalesce(phone_number, p_phone), lid = coalesce(lid, p_lid)
        WHERE tenant_id = p_tenant AND id = v_contact;
    END IF;
    IF v_key IS NULL THEN
        v_key := p_chat;
        INSERT INTO conversations (tenant_id, chat_key, contact_id)
        VALUES (p_tenant, v_key, v_contact);
    END IF;
    INSERT INTO chat_aliases (tenant_id, jid, chat_key)
    SELECT p_tenant, jid, v_key FROM unnest(p_jids) AS jid
    ON CONFLICT (tenant_id, jid) DO NOTHING;
    RETURN v_merged;
END
$$;

-- The chat behind p_jids, its row locked; o_merged: chats that were merged into it for that, NULL if
-- none. The way through link_chat is taken only by a chat's first message and by the one that brings
-- a new mapping.
CREATE FUNCTION lock_chat(
    p_tenant uuid, p_chat text, p_jids text[], p_phone text, p_lid text,
    OUT o_chat conversations, OUT o_merged text[]
)
LANGUAGE plpgsql AS $$
DECLARE
    v_first text;
    v_last text;
    v_count bigint;
BEGIN
    FOR round IN 1..5 LOOP
        SELECT min(chat_key), max(chat_key), count(*) INTO v_first, v_last, v_count
        FROM chat_aliases WHERE tenant_id = p_tenant AND jid = ANY (p_jids);
        IF v_count = cardinality(p_jids) AND v_first = v_last THEN
            SELECT * INTO o_chat FROM conversations
            WHERE tenant_id = p_tenant AND chat_key = v_first FOR NO KEY UPDATE;
            IF FOUND THEN
                RETURN;
            END IF;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtextextended('chats ' || p_tenant, 0));
        o_merged := array_cat(
            o_merged, link_chat(p_tenant, p_chat, p_jids, p_phone, p_lid)
        );
    END LOOP;
    RAISE EXCEPTION 'a chat could not be linked' USING ERRCODE = 'serialization_failure';
END
$$;

-- Forward only. In PL/pgSQL, which plans it once for a connection and not at each call.
CREATE FUNCTION advance_cursor(p_tenant uuid, p_chat_key text, p_at timestamptz, p_id text)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chat_cursors AS c (tenant_id, chat_key, last_timestamp, last_wa_message_id)
    VALUES (p_tenant, p_chat_key, p_at, p_id)
    ON CONFLICT (tenant_id, chat_key) DO UPDATE SET
        last_timestamp = excluded.last_timestamp,
        last_wa_message_id = excluded.last_wa_message_id
    WHERE excluded.last_timestamp >= c.last_timestamp;
END
$$;

-- The status of one outgoing ledger row: up, or from failed to queued when it is sent again. Planned
-- anew each time: with the day known, the planner opens one partition instead of all.
CREATE FUNCTION move_status(
    p_tenant uuid, p_log_id uuid, p_log_at timestamptz, p_status message_status
) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE message_logs SET status = p_status
    WHERE tenant_id = p_tenant AND id = p_log_id AND created_at = p_log_at AND direction = 'OUT'
        AND (status < p_status OR status = 'failed' AND p_status = 'queued');
    RETURN FOUND;
END
$$;

-- An event of a tenant that is no change of its status. p_detail: for a person, without whole
-- numbers and without what was written.
CREATE FUNCTION raise_event(p_tenant uuid, p_event text, p_actor text, p_detail text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO tenant_events (
        tenant_id, from_status, to_status, session, worker, reason, event, actor, detail
    )
    SELECT t.id, t.status, t.status, coalesce(s.state, 'DISCONNECTED'),
        coalesce(w.status, 'STOPPED'), t.reason, p_event, p_actor, p_detail
    FROM tenants t
    LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id
    LEFT JOIN worker_processes w ON w.tenant_id = t.id
    WHERE t.id = p_tenant;
$$;

-- +255…678: whom an event is about, shortened as in the daemon's logs.
CREATE FUNCTION short_number(p_number text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT left(n, 4) || '…' || CASE WHEN char_length(n) > 9 THEN right(n, 3) ELSE '' END
    FROM split_part(p_number, '@', 1) AS n;
$$;

-- The same id came again with another content: kept as it was first, and told once.
CREATE FUNCTION note_difference(p_tenant uuid, p_from_me boolean, p_id text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE inbox SET differed_at = now()
    WHERE tenant_id = p_tenant AND from_me = p_from_me AND wa_message_id = p_id
        AND differed_at IS NULL;
    IF FOUND THEN
        PERFORM raise_event(
            p_tenant, 'content_differed', 'daemon',
            'A message came again under the same id with another content; the first one stays.'
        );
    END IF;
    RETURN FOUND;
END
$$;

-- A person wrote in this chat at p_at: the bot is silent there for p_pause from then, and what it
-- had planned is taken back. What is on its way is left to settle, but not sent once more.
-- p_pause NULL: the bot carries on. Returns how many messages were taken back.
CREATE FUNCTION take_over(
    p_tenant uuid, p_chat conversations, p_them text, p_at timestamptz, p_pause interval
) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_until timestamptz := p_at + p_pause;
    v_row record;
    v_count integer := 0;
BEGIN
    IF p_pause IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE conversations SET bot_paused_until = greatest(bot_paused_until, v_until)
    WHERE tenant_id = p_tenant AND id = p_chat.id;
    FOR v_row IN
        UPDATE outbox SET
            reason = 'person',
            state = CASE state WHEN 'planned' THEN 'cancelled' ELSE state END,
            done_at = CASE state WHEN 'planned' THEN now() END
        WHERE tenant_id = p_tenant AND chat_key = p_chat.chat_key
            AND state IN ('planned', 'sending', 'unknown')
            AND (v_until > now() OR planned_at <= p_at)
        RETURNING state, log_id, log_at
    LOOP
        IF v_row.state = 'cancelled' THEN
            PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, 'cancelled');
            v_count := v_count + 1;
        END IF;
    END LOOP;
    IF v_until > now() AND coalesce(p_chat.bot_paused_until <= now(), true) THEN
        PERFORM raise_event(
            p_tenant, 'person_took_over', 'phone',
            format('A person wrote to %s: the bot is silent there. Planned messages taken back: %s.',
                short_number(p_them), v_count)
        );
    END IF;
    RETURN v_count;
END
$$;

-- One message into the ledger. Known already: o_fresh is false and nothing changes. The echo of a
-- message of ours is no new row, and proves nothing: the page gives it before the server has the
-- message. Acks do. p_state: 'new', or 'skipped' with its p_reason. Another p_from_me message was
-- typed by a person (o_by_person): they take over for p_pause, NULL for not at all; o_cancelled is
-- how many planned messages were taken back. o_differs: a duplicate with another content, told once.
-- o_merged: as of lock_chat.
CREATE FUNCTION record_message(
    p_tenant uuid, p_from_me boolean, p_id text, p_chat text, p_jids text[], p_phone text,
    p_lid text, p_push_name text, p_type text, p_text text, p_content jsonb, p_payload jsonb,
    p_at timestamptz, p_source text, p_state text, p_reason text, p_digest bytea,
    p_pause interval,
    OUT o_chat_key text, OUT o_fresh boolean, OUT o_state text, OUT o_ord bigint,
    OUT o_by_person boolean, OUT o_cancelled integer, OUT o_differs boolean, OUT o_merged text[]
)
LANGUAGE plpgsql AS $$
DECLARE
    v_at timestamptz := least(p_at, now());
    v_log_id uuid := gen_random_uuid();
    v_locked record;
    v_chat conversations;
    v_them text;
    v_us text;
BEGIN
    SELECT false, false, 0, false INTO o_fresh, o_by_person, o_cancelled, o_differs;
    SELECT i.chat_key, i.state, i.ord, i.differed_at IS NULL AND i.digest <> p_digest
    INTO o_chat_key, o_state, o_ord, o_differs FROM inbox i
    WHERE i.tenant_id = p_tenant AND i.from_me = p_from_me AND i.wa_message_id = p_id;
    IF FOUND THEN
        o_differs := coalesce(o_differs, false) AND note_difference(p_tenant, p_from_me, p_id);
        RETURN;
    END IF;
    o_differs := false;
    IF p_from_me THEN
        SELECT chat_key INTO o_chat_key FROM outbox
        WHERE tenant_id = p_tenant AND client_id = p_id;
        IF FOUND THEN
            IF EXISTS (
                SELECT FROM conversations WHERE tenant_id = p_tenant AND chat_key = o_chat_key
            ) THEN
                PERFORM advance_cursor(p_tenant, o_chat_key, v_at, p_id);
            END IF;
            SELECT 'done', 0 INTO o_state, o_ord;
            RETURN;
        END IF;
    END IF;

    v_locked := lock_chat(p_tenant, p_chat, p_jids, p_phone, p_lid);
    v_chat := v_locked.o_chat;
    o_merged := v_locked.o_merged;
    INSERT INTO inbox (
        tenant_id, from_me, wa_message_id, chat_key, wa_timestamp, source, state, reason,
        payload, log_id, log_at, done_at, digest
    ) VALUES (
        p_tenant, p_from_me, p_id, v_chat.chat_key, p_at, p_source::message_source,
        p_state::inbox_state, p_reason,
        CASE WHEN p_state NOT IN ('done', 'skipped') THEN p_payload END, v_log_id, now(),
        CASE WHEN p_state IN ('done', 'skipped') THEN now() END, p_digest
    ) ON CONFLICT (tenant_id, from_me, wa_message_id) DO NOTHING
    RETURNING chat_key, state, ord INTO o_chat_key, o_state, o_ord;
    IF NOT FOUND THEN
        SELECT v_chat.chat_key, i.state, i.ord INTO o_chat_key, o_state, o_ord FROM inbox i
        WHERE i.tenant_id = p_tenant AND i.from_me = p_from_me AND i.wa_message_id = p_id;
        RETURN;
    END IF;
    o_fresh := true;

    SELECT coalesce(k.phone_number, p_chat), t.phone_number INTO v_them, v_us
    FROM contacts k JOIN tenants t ON t.id = k.tenant_id
    WHERE k.tenant_id = p_tenant AND k.id = v_chat.contact_id;
    INSERT INTO message_logs (
        id, tenant_id, direction, from_number, to_number, message_text, wa_message_id,
        created_at, conversation_id, type, content, status, wa_timestamp
    ) VALUES (
        v_log_id, p_tenant,
        CASE WHEN p_from_me THEN 'OUT' ELSE 'IN' END::message_direction,
        CASE WHEN p_from_me THEN v_us ELSE v_them END,
        CASE WHEN p_from_me THEN v_them ELSE v_us END,
        p_text, p_id, now(), v_chat.id, p_type::message_type, p_content,
        CASE WHEN p_from_me THEN 'sent' ELSE 'received' END::message_status, p_at
    );
    UPDATE conversations SET
        last_message = CASE WHEN v_at >= coalesce(last_message_at, v_at)
            THEN left(coalesce(nullif(p_text, ''), '[' || p_type || ']'), 1000)
            ELSE last_message END,
        last_message_at = greatest(last_message_at, v_at),
        last_customer_message_at = CASE WHEN p_from_me THEN last_customer_message_at
            ELSE greatest(last_customer_message_at, v_at) END,
        last_person_message_at = CASE WHEN p_from_me
            THEN greatest(last_person_message_at, v_at) ELSE last_person_message_at END,
        last_outgoing_at = CASE WHEN p_from_me
            THEN greatest(last_outgoing_at, v_at) ELSE last_outgoing_at END
    WHERE tenant_id = p_tenant AND id = v_chat.id;
    IF NOT p_from_me AND p_push_name <> '' THEN
        UPDATE contacts SET push_name = p_push_name
        WHERE tenant_id = p_tenant AND id = v_chat.contact_id
            AND push_name IS DISTINCT FROM p_push_name;
    END IF;
    PERFORM advance_cursor(p_tenant, v_chat.chat_key, v_at, p_id);
    IF p_from_me THEN
        o_by_person := true;
        o_cancelled := take_over(p_tenant, v_chat, v_them, v_at, p_pause);
    END IF;
END
$$;

-- == Sending and settling =========================================================================
--
-- The ledger's steps that are one statement are functions, so that each is one round trip: their
-- caller chooses the tenant with the first argument (flowhq/db/pool.py, call).

-- Whether a message may be handed to the page now: committed before it is. One that failed and is
-- sent again is on its way again; one that a person took the chat from while it was in doubt is not
-- sent once more, and one that was due too long ago is not sent.
CREATE FUNCTION mark_sending(p_tenant uuid, p_id bigint, p_max_age interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_oldest timestamptz := coalesce(now() - p_max_age, '-infinity');
    v_row record;
BEGIN
    UPDATE outbox SET
        state = CASE WHEN reason = '' AND next_at >= v_oldest THEN 'sending'
            ELSE 'cancelled' END::outbox_state,
        reason = CASE WHEN reason = '' AND next_at < v_oldest THEN 'too_old' ELSE reason END,
        attempts = CASE WHEN reason = '' AND next_at >= v_oldest THEN attempts + 1
            ELSE attempts END,
        sent_at = CASE WHEN reason = '' AND next_at >= v_oldest THEN now() ELSE sent_at END,
        done_at = CASE WHEN reason = '' AND next_at >= v_oldest THEN NULL ELSE now() END
    WHERE tenant_id = p_tenant AND id = p_id AND state IN ('planned', 'sending', 'unknown')
    RETURNING state, attempts, log_id, log_at INTO v_row;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF v_row.state = 'cancelled' THEN
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, 'cancelled');
        RETURN false;
    END IF;
    IF v_row.attempts > 1 THEN
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, 'queued');
    END IF;
    RETURN true;
END
$$;

-- The page has taken it. The states are declared in the order of proof: greatest() never goes back.
CREATE FUNCTION mark_accepted(
    p_tenant uuid, p_id bigint, p_state outbox_state, p_status message_status
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    UPDATE outbox SET
        state = greatest(state, p_state), error = NULL,
        accepted_at = coalesce(accepted_at, now()),
        delivered_at = coalesce(
            delivered_at, CASE WHEN p_state IN ('delivered', 'read') THEN now() END
        ),
        read_at = coalesce(read_at, CASE WHEN p_state = 'read' THEN now() END)
    WHERE tenant_id = p_tenant AND id = p_id
    RETURNING log_id, log_at INTO v_row;
    IF FOUND THEN
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, p_status);
    END IF;
END
$$;

-- The platform told of own messages; p_state NULL proves nothing. The bot's are found by their
-- outbox row, a person's by their inbox row: the ledger itself is never searched by id, since that
-- would open every day.
CREATE FUNCTION acknowledge(
    p_tenant uuid, p_ids text[], p_state outbox_state, p_status message_status
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        UPDATE outbox SET
            state = greatest(state, coalesce(p_state, state)),
            accepted_at = coalesce(accepted_at, CASE WHEN p_state IS NOT NULL THEN now() END),
            delivered_at = coalesce(
                delivered_at, CASE WHEN p_state IN ('delivered', 'read') THEN now() END
            ),
            read_at = coalesce(read_at, CASE WHEN p_state = 'read' THEN now() END)
        WHERE tenant_id = p_tenant AND client_id = ANY (p_ids)
        RETURNING log_id, log_at
    LOOP
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, p_status);
    END LOOP;
    FOR v_row IN
        SELECT log_id, log_at FROM inbox
        WHERE tenant_id = p_tenant AND from_me AND wa_message_id = ANY (p_ids)
    LOOP
        PERFORM move_status(p_tenant, v_row.log_id, v_row.log_at, p_status);
    END LOOP;
END
$$;

-- == The installation's own ================================================================--
-- No tenant's rows: no row-level security, and the application's role gets single rights.

-- Who changed what through the API, from where, and what became of it. Written before the change
-- (status NULL) and once more after it; then nobody changes it, and the application's role cannot
-- delete it: the owner does, by age. It outlives the tenant that it speaks of, so no foreign key.
CREATE TABLE audit_log (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    at timestamptz NOT NULL DEFAULT now(),
    principal text NOT NULL,               -- 'user:asha', 'token:...'; '' is whoever came
    address text NOT NULL,                 -- of the client, as the daemon could tell
    request_id text NOT NULL,
    method text NOT NULL,
    route text NOT NULL,                   -- the route's name, not its address
    about_tenant uuid,
    target jsonb NOT NULL DEFAULT '{}',    -- further ids in the path, by their names there
    status integer,                        -- of the answer; NULL: begun, the end is not known
    changes jsonb NOT NULL DEFAULT '[]',   -- [{"field", "before", "after"}], without secrets
    done_at timestamptz,
    CONSTRAINT audit_log_pkey PRIMARY KEY (id),
    CONSTRAINT audit_log_done_check CHECK ((status IS NULL) = (done_at IS NULL))
);
-- GET /admin/audit: all, or by tenant, principal or route; newest first. The first one also serves
-- what is old enough to be deleted (audit.DELETE_OLD).
CREATE INDEX audit_log_at_idx ON audit_log (at, id);
CREATE INDEX audit_log_tenant_idx ON audit_log (about_tenant, at, id)
    WHERE about_tenant IS NOT NULL;
CREATE INDEX audit_log_principal_idx ON audit_log (principal, at, id);
CREATE INDEX audit_log_route_idx ON audit_log (route, at, id);

CREATE FUNCTION keep_audit() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status IS NOT NULL THEN
        RAISE EXCEPTION 'an audit row is written once' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_log_kept BEFORE UPDATE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION keep_audit();

-- What an admin user may: each role all that the one before may (flowhq/admin/scopes.py).
CREATE TYPE admin_role AS ENUM ('viewer', 'operator', 'admin');

-- The people who sign in. 'admin' itself stands in the settings. Never deleted, so that no later
-- user takes over a name in the audit: disabled_at is set instead.
CREATE TABLE admin_users (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,                    -- user name or e-mail address, lower case
    password_hash text NOT NULL,           -- Argon2id
    role admin_role NOT NULL,
    disabled_at timestamptz,
    created_by text NOT NULL,              -- the principal
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT admin_users_pkey PRIMARY KEY (id),
    CONSTRAINT admin_users_name_key UNIQUE (name),
    CONSTRAINT admin_users_name_check CHECK (name = lower(name) AND name NOT IN ('', 'admin')),
    CONSTRAINT admin_users_password_hash_check CHECK (password_hash LIKE '$argon2id$%')
);
CREATE TRIGGER admin_users_updated BEFORE UPDATE ON admin_users
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();
-- GET /admin/users, newest first.
CREATE INDEX admin_users_created_at_idx ON admin_users (created_at, id);

-- A browser that is signed in. The cookie's secret is not here, only its sum.
CREATE TABLE admin_sessions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    secret_sha256 bytea NOT NULL,
    user_name text NOT NULL,               -- no foreign key: 'admin' has no row
    mark bytea NOT NULL,                   -- of password and role then: others now, and it is over
    address text NOT NULL,
    user_agent text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),   -- written once a minute at most
    CONSTRAINT admin_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT admin_sessions_secret_sha256_key UNIQUE (secret_sha256),
    CONSTRAINT admin_sessions_secret_check CHECK (octet_length(secret_sha256) = 32)
);
-- Those of one user: listed, and ended with a new password.
CREATE INDEX admin_sessions_user_idx ON admin_sessions (user_name);
-- GET /admin/sessions, newest first.
CREATE INDEX admin_sessions_created_at_idx ON admin_sessions (created_at, id);

-- What programs sign in with: fhq_<id>_<secret>. Shown once; here is only the secret's sum.
CREATE TABLE api_tokens (
    id uuid NOT NULL,
    name text NOT NULL,                    -- what it is for
    secret_sha256 bytea NOT NULL,
    scopes text[] NOT NULL,                -- flowhq.admin.scopes.Scope
    reach uuid[],                          -- the only tenants; NULL: all
    created_by text NOT NULL,              -- the principal
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,                -- NULL: never
    last_used_at timestamptz,              -- written once a minute at most
    revoked_at timestamptz,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT api_tokens_scopes_check CHECK (cardinality(scopes) > 0),
    CONSTRAINT api_tokens_secret_check CHECK (octet_length(secret_sha256) = 32)
);
-- GET /admin/tokens, newest first.
CREATE INDEX api_tokens_created_at_idx ON api_tokens (created_at, id);
-- == The portal ==================================================================================

-- What somebody is to a tenant.
CREATE TYPE portal_role AS ENUM ('OWNER');

-- SUBMITTED -> REVIEWING   somebody looks at it
-- either -> APPROVED       its number and template are the tenant's, the worker is started
-- APPROVED -> ACTIVE       the first connection after it (states.SAVE)
-- either -> REJECTED       the reason says why
CREATE TYPE setup_status AS ENUM ('SUBMITTED', 'REVIEWING', 'APPROVED', 'ACTIVE', 'REJECTED');

-- A business owner. Who signs in first gets a tenant of their own (portal.sign_in).
CREATE TABLE portal_users (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    email text NOT NULL,                      -- lower case, so that it is unique whatever the case
    name text NOT NULL DEFAULT '',
    phone text,                               -- E.164, the owner's own
    role portal_role NOT NULL DEFAULT 'OWNER',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT portal_users_pkey PRIMARY KEY (id),
    CONSTRAINT portal_users_email_key UNIQUE (email),
    CONSTRAINT portal_users_tenant_id_key UNIQUE (tenant_id, id),
    CONSTRAINT portal_users_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT portal_users_email_check CHECK (email = lower(email) AND email LIKE '_%@_%')
);
CREATE TRIGGER portal_users_updated_at BEFORE UPDATE ON portal_users
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- An owner asks for a bot; one request at a time is open.
CREATE TABLE setup_requests (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    template_type template_type NOT NULL,
    whatsapp_number text NOT NULL,
    notes text NOT NULL DEFAULT '',
    status setup_status NOT NULL DEFAULT 'SUBMITTED',
    reason text NOT NULL DEFAULT '',          -- why it was rejected; the owner reads it
    decided_by text NOT NULL DEFAULT '',      -- who looked at it last, as the audit names them
    reviewing_at timestamptz,
    approved_at timestamptz,
    active_at timestamptz,
    rejected_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT setup_requests_pkey PRIMARY KEY (id),
    CONSTRAINT setup_requests_user_id_fkey FOREIGN KEY (tenant_id, user_id)
        REFERENCES portal_users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT setup_requests_number_check CHECK (whatsapp_number ~ '^\+[1-9][0-9]{6,14}$'),
    CONSTRAINT setup_requests_reason_check CHECK (status <> 'REJECTED' OR reason <> '')
);
CREATE UNIQUE INDEX setup_requests_open_key ON setup_requests (tenant_id)
    WHERE status IN ('SUBMITTED', 'REVIEWING', 'APPROVED');
-- serves: the tenant's newest request (setup.LATEST)
CREATE INDEX setup_requests_tenant_id_idx ON setup_requests (tenant_id, created_at, id);
-- serves: the requests of one status, newest first (setup.LIST_BY_STATUS)
CREATE INDEX setup_requests_status_idx ON setup_requests (status, created_at, id);
-- serves: all requests, newest first (setup.LIST_REQUESTS)
CREATE INDEX setup_requests_created_at_idx ON setup_requests (created_at, id);
CREATE TRIGGER setup_requests_updated_at BEFORE UPDATE ON setup_requests
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- What owners did and what became of what they asked for; without texts, numbers and secrets.
CREATE TABLE portal_event_logs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    event_type text NOT NULL,                 -- flowhq.db.portal.PortalEvent
    payload jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT portal_event_logs_pkey PRIMARY KEY (id),
    CONSTRAINT portal_event_logs_user_id_fkey FOREIGN KEY (tenant_id, user_id)
        REFERENCES portal_users (tenant_id, id) ON DELETE CASCADE
);
-- serves: a tenant's events, newest first
CREATE INDEX portal_event_logs_tenant_id_idx ON portal_event_logs (tenant_id, id);

-- Browsers of owners that are signed in at the daemon itself. The secret begins with the tenant's id,
-- as the token of a pairing link does.
CREATE TABLE portal_sessions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),   -- to the minute
    CONSTRAINT portal_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT portal_sessions_secret_sha256_key UNIQUE (secret_sha256),
    CONSTRAINT portal_sessions_user_id_fkey FOREIGN KEY (tenant_id, user_id)
        REFERENCES portal_users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT portal_sessions_secret_sha256_check CHECK (octet_length(secret_sha256) = 32)
);
-- serves: the sessions of a user (foreign key)
CREATE INDEX portal_sessions_user_id_idx ON portal_sessions (tenant_id, user_id);

-- A link with which an owner without an account pairs a phone. Its token begins with the tenant's id,
-- so that it is looked up inside the tenant's scope (db/pairinglinks.py).
CREATE TABLE pairing_links (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    token_sha256 bytea NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    opened_at timestamptz,                    -- its page first asked for the code
    used_at timestamptz,                      -- a phone was connected (states.SAVE)
    revoked_at timestamptz,
    CONSTRAINT pairing_links_pkey PRIMARY KEY (id),
    CONSTRAINT pairing_links_token_sha256_key UNIQUE (token_sha256),
    CONSTRAINT pairing_links_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT pairing_links_token_sha256_check CHECK (octet_length(token_sha256) = 32),
    CONSTRAINT pairing_links_expires_at_check CHECK (expires_at > created_at)
);
-- serves: the tenant's links, newest first (pairinglinks.LIST_LINKS)
CREATE INDEX pairing_links_tenant_id_idx ON pairing_links (tenant_id, created_at, id);

-- The keys that portals show; of the installation. Two places, so that two are alive at most.
CREATE TABLE portal_keys (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    slot smallint NOT NULL,
    key_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,                 -- to the minute
    retired_at timestamptz,
    CONSTRAINT portal_keys_pkey PRIMARY KEY (id),
    CONSTRAINT portal_keys_key_sha256_key UNIQUE (key_sha256),
    CONSTRAINT portal_keys_name_check CHECK (name <> ''),
    CONSTRAINT portal_keys_slot_check CHECK (slot IN (1, 2)),
    CONSTRAINT portal_keys_key_sha256_check CHECK (octet_length(key_sha256) = 32)
);
CREATE UNIQUE INDEX portal_keys_live_key ON portal_keys (slot) WHERE retired_at IS NULL;

-- What was asked under an Idempotency-Key and what was answered, for 24 hours. A key is a
-- principal's. Neither key nor body is stored, only digests.
CREATE TABLE idempotency_keys (
    principal text NOT NULL,
    route text NOT NULL,              -- method and path of the table of routes
    key_digest bytea NOT NULL,        -- SHA-256 of the key
    body_digest bytea NOT NULL,       -- of address and body, salted by the key
    about uuid,                       -- the tenant that the answer is about
    created_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,              -- NULL: in progress, or left half-way
    status smallint,                  -- the answer's ...
    headers jsonb NOT NULL DEFAULT '{}',
    answer bytea,                     -- NULL: not kept
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, route, key_digest),
    CONSTRAINT idempotency_keys_done_check CHECK ((done_at IS NULL) = (status IS NULL))
);
-- serves: letting go of old keys (keys.DROP_OLD_KEYS)
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
-- serves: forgetting what was answered about a tenant (keys.FORGET_ANSWERS)
CREATE INDEX idempotency_keys_about_idx ON idempotency_keys (about);

-- One verb over many tenants: the runs, and what became of each tenant.
CREATE TABLE bulk_runs (
    id uuid NOT NULL,
    principal text NOT NULL,          -- who asked
    verb text NOT NULL,
    dry_run boolean NOT NULL,
    tenants uuid[] NOT NULL,          -- chosen, in this order
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,             -- NULL: in progress, or cut off by the end of the daemon
    CONSTRAINT bulk_runs_pkey PRIMARY KEY (id)
);
-- serves: letting go of old runs (bulk.DROP_OLD_RUNS)
CREATE INDEX bulk_runs_created_at_idx ON bulk_runs (created_at);

CREATE TABLE bulk_results (
    run_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    outcome text NOT NULL,            -- flowhq.db.bulk.Outcome
    problem text NOT NULL DEFAULT '', -- the name of the refusal
    detail text NOT NULL DEFAULT '',
    next_step text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT bulk_results_pkey PRIMARY KEY (tenant_id, run_id),
    CONSTRAINT bulk_results_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT bulk_results_run_id_fkey
        FOREIGN KEY (run_id) REFERENCES bulk_runs (id) ON DELETE CASCADE
);
-- serves: a run's results (bulk.FETCH_ITEMS), and the cascade from bulk_runs
CREATE INDEX bulk_results_run_id_idx ON bulk_results (run_id);

-- == The second wall ==============================================================================
--
-- flowhq_app   what the daemon's pool acts as. It owns nothing and cannot pass row-level security.
-- flowhq_ops   owns the views below, and may read what they show of all tenants.
-- Both are NOLOGIN, belong to the cluster, and are made by flowhq/db/migrate.py; the user of the
-- url (the owner) is a member of both and takes on the one or the other.
--
-- A tenant is chosen for one transaction: SELECT set_config('app.tenant_id', $1, true). Afterwards
-- the setting is '' on that connection, not NULL: hence the nullif, and no row without a tenant.

DO $$
DECLARE
    v_table text;
    v_column text;
    v_mine text := '(SELECT nullif(current_setting(''app.tenant_id'', true), ''''))::uuid';
BEGIN
    FOREACH v_table IN ARRAY ARRAY[
        'tenants', 'tenant_configs', 'whatsapp_sessions', 'worker_processes', 'tenant_events',
        'contacts', 'conversations', 'message_logs', 'inbox', 'outbox', 'chat_aliases',
        'chat_cursors', 'tenant_spans', 'retention_marks', 'data_keys', 'bulk_results', 'portal_users',
        'setup_requests', 'portal_event_logs', 'pairing_links', 'portal_sessions'
    ] LOOP
        v_column := CASE v_table WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format(
            'CREATE POLICY tenant_isolation ON %I USING (%I = %s) WITH CHECK (%I = %s)',
            v_table, v_column, v_mine, v_column, v_mine
        );
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO flowhq_app', v_table);
    END LOOP;
END
$$;

-- The installation's own tables, each with just the rights that are used.
GRANT SELECT, INSERT ON audit_log TO flowhq_app;
GRANT UPDATE (status, changes, done_at) ON audit_log TO flowhq_app;
GRANT SELECT, INSERT ON admin_users, api_tokens TO flowhq_app;
GRANT UPDATE (password_hash, role, disabled_at, updated_at) ON admin_users TO flowhq_app;
GRANT UPDATE (last_used_at, revoked_at) ON api_tokens TO flowhq_app;
GRANT SELECT, INSERT, DELETE ON admin_sessions TO flowhq_app;
GRANT UPDATE (last_used_at) ON admin_sessions TO flowhq_app;
-- The installation's own: what the application's role may do is named right by right.
GRANT SELECT, INSERT ON portal_keys TO flowhq_app;
GRANT UPDATE (last_used_at, retired_at) ON portal_keys TO flowhq_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys, bulk_runs TO flowhq_app;

-- A partition is reached through its parent only: it has no policy and no grant of its own.
ALTER TABLE message_logs_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE message_logs_default FORCE ROW LEVEL SECURITY;

-- == The operator's views =========================================================================

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
CREATE POLICY ops_read ON tenant_spans FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON portal_users FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));
CREATE POLICY ops_read ON setup_requests FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));

CREATE POLICY ops_read ON bulk_results FOR SELECT TO flowhq_ops
    USING ((SELECT current_user = 'flowhq_ops'));

GRANT SELECT ON tenants, tenant_configs, worker_processes, tenant_spans, bulk_results TO flowhq_ops;
GRANT SELECT (id, at) ON tenant_events TO flowhq_ops;
GRANT SELECT (tenant_id, state, last_seen_at, paired_at, own_jid, own_lid)
    ON whatsapp_sessions TO flowhq_ops;
GRANT SELECT (tenant_id, from_me, source, state, reason, ord, created_at) ON inbox TO flowhq_ops;
GRANT SELECT (tenant_id, state, id, planned_at) ON outbox TO flowhq_ops;
GRANT SELECT ON retention_runs, retention_state TO flowhq_ops;
GRANT SELECT (id, tenant_id, email, name) ON portal_users TO flowhq_ops;
GRANT SELECT ON setup_requests TO flowhq_ops;

CREATE VIEW ops_tenants AS
SELECT
    t.id, t.name, t.phone_number, t.status, t.desired_state, t.reason, t.detail, t.paused_at,
    t.created_at, t.updated_at,
    c.template_type, c.business_name, c.language, c.timezone, c.hours_json, c.details,
    s.state AS session_state, s.last_seen_at, s.paired_at, s.own_jid,
    w.name AS worker_name, w.status AS worker_status, w.last_error, w.restarts, w.started_at,
    c.retention
FROM tenants t
LEFT JOIN tenant_configs c ON c.tenant_id = t.id
LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id
LEFT JOIN worker_processes w ON w.tenant_id = t.id;

-- What every tenant answers under: bots of one house do not answer each other.
CREATE VIEW ops_numbers AS
SELECT t.id AS tenant_id, t.phone_number, s.own_jid, s.own_lid
FROM tenants t
LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id;

-- What came in and what was planned, by when and by what became of it.
CREATE VIEW ops_seen AS
SELECT t.id AS tenant_id, i.source, i.state, i.reason, i.created_at
FROM tenants t JOIN inbox i ON i.tenant_id = t.id AND NOT i.from_me;

CREATE VIEW ops_replies AS
SELECT t.id AS tenant_id, o.state, o.planned_at
FROM tenants t JOIN outbox o ON o.tenant_id = t.id;

CREATE VIEW ops_spans AS
SELECT s.tenant_id, s.kind, s.began_at, s.until_at
FROM tenant_spans s;

-- How many messages wait where, and since when. Each part reads a partial index.
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
-- What owners ask for, with whose it is.
CREATE VIEW ops_setup_requests AS
SELECT
    r.id, r.tenant_id, r.user_id, r.template_type, r.whatsapp_number, r.notes, r.status, r.reason,
    r.decided_by, r.reviewing_at, r.approved_at, r.active_at, r.rejected_at, r.created_at,
    t.name AS tenant_name, u.email AS user_email, u.name AS user_name
FROM setup_requests r
JOIN tenants t ON t.id = r.tenant_id
JOIN portal_users u ON u.tenant_id = r.tenant_id AND u.id = r.user_id;

-- The narrow door before a tenant is known: one address in, one tenant out. It runs as flowhq_ops,
-- which sees the addresses; the role that calls it cannot list them.
CREATE FUNCTION portal_tenant_of(p_email text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT u.tenant_id FROM portal_users u WHERE u.email = p_email
$$;
REVOKE ALL ON FUNCTION portal_tenant_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION portal_tenant_of(text) TO flowhq_app;

CREATE VIEW ops_bulk_results AS
SELECT r.run_id, r.tenant_id, r.outcome, r.problem, r.detail, r.next_step, r.at
FROM bulk_results r;

-- A new owner must be able to create in the schema, for the moment of the change only.
DO $$
DECLARE
    v_lend boolean := NOT has_schema_privilege('flowhq_ops', current_schema(), 'CREATE');
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_tenants OWNER TO flowhq_ops;
    ALTER VIEW ops_numbers OWNER TO flowhq_ops;
    ALTER VIEW ops_seen OWNER TO flowhq_ops;
    ALTER VIEW ops_replies OWNER TO flowhq_ops;
    ALTER VIEW ops_spans OWNER TO flowhq_ops;
    ALTER VIEW ops_queues OWNER TO flowhq_ops;
    ALTER VIEW ops_setup_requests OWNER TO flowhq_ops;
    ALTER FUNCTION portal_tenant_of(text) OWNER TO flowhq_ops;
    ALTER VIEW ops_bulk_results OWNER TO flowhq_ops;
    IF v_lend THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM flowhq_ops', current_schema());
    END IF;
END
$$;

-- == Events outward ===============================================================================

-- What is told outward.
-- tenant.state   a change of status or reason (tenant_events)
-- message.in     a message of a customer is in the ledger
-- message.out    one of ours is: planned (queued), or typed by a person (sent)
-- message.ack    the status of one of ours moved on: sent, delivered, read, failed ...
-- handoff        a person took a chat over, it was muted, or the bot answers there again
-- incident       many tenants failed at once, or that is over; of no tenant
CREATE TYPE event_type AS ENUM (
    'tenant.state', 'message.in', 'message.out', 'message.ack', 'handoff', 'incident'
);
-- pending -> delivered   the endpoint answered 2xx
-- pending -> dead        a day after it was queued it still had not
-- any -> pending         a person asked for it again
CREATE TYPE delivery_state AS ENUM ('pending', 'delivered', 'dead');

-- The numbers of events: given after the commit, by number_events alone, so that no event appears
-- behind one that was read. They ascend, with gaps.
CREATE SEQUENCE events_order;
-- One row for whatever happened, written by triggers in the transaction of what it tells. What was
-- written and by whom is not here: it is read from the ledger when the event is told.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    seq bigint,                       -- its place in the order; NULL until it is numbered
    tenant_id uuid,                   -- NULL: of the installation
    type event_type NOT NULL,
    log_id uuid,                      -- message.*: its row in message_logs ...
    log_at timestamptz,               -- ... and that row's created_at
    data jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_seq_key UNIQUE (seq),
    CONSTRAINT events_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT events_tenant_id_check CHECK (tenant_id IS NOT NULL OR type = 'incident')
);
-- serves: the cascade from tenants
CREATE INDEX events_tenant_id_idx ON events (tenant_id, seq);
-- serves: what has no number yet (number_events)
CREATE INDEX events_waiting_idx ON events (id) WHERE seq IS NULL;

-- Where events are sent. Secrets are sealed (flowhq/vault.py).
CREATE TABLE webhook_endpoints (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid,                   -- NULL: gets the events of all tenants
    url text NOT NULL,
    types event_type[] NOT NULL DEFAULT '{}',   -- none: every type
    secret bytea NOT NULL,
    old_secret bytea,                 -- the one before, which signs too for a day
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
-- serves: an owner's endpoints (webhooks.LIST), and the cascade from tenants
CREATE INDEX webhook_endpoints_tenant_id_idx ON webhook_endpoints (tenant_id);
CREATE TRIGGER webhook_endpoints_updated_at BEFORE UPDATE ON webhook_endpoints
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

-- One event at one endpoint, queued in the transaction that numbers the event. The events of one
-- tenant at one endpoint are delivered in their order.
CREATE TABLE webhook_deliveries (
    event_seq bigint NOT NULL,
    endpoint_id uuid NOT NULL,
    tenant_id uuid,                   -- of the event
    state delivery_state NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0,
    queued_at timestamptz NOT NULL DEFAULT now(),   -- given up a day after it
    next_at timestamptz,              -- after a failure: not before
    attempted_at timestamptz,
    done_at timestamptz,
    status integer,                   -- HTTP's, of the last attempt; NULL: no answer
    error text NOT NULL DEFAULT '',
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (event_seq, endpoint_id),
    CONSTRAINT webhook_deliveries_event_seq_fkey
        FOREIGN KEY (event_seq) REFERENCES events (seq) ON DELETE CASCADE,
    CONSTRAINT webhook_deliveries_endpoint_id_fkey
        FOREIGN KEY (endpoint_id) REFERENCES webhook_endpoints (id) ON DELETE CASCADE
);
-- serves: an endpoint's deliveries, newest first (deliveries.LIST), and the cascade from it
CREATE INDEX webhook_deliveries_endpoint_id_idx ON webhook_deliveries (endpoint_id, event_seq);
-- serves: the head of a queue (deliveries.PENDING), and which queues there are (deliveries.QUEUES)
CREATE INDEX webhook_deliveries_pending_idx
    ON webhook_deliveries (endpoint_id, tenant_id, event_seq) WHERE state = 'pending';
-- serves: how many were given up (figures.LIST_WEBHOOKS)
CREATE INDEX webhook_deliveries_dead_idx ON webhook_deliveries (queued_at) WHERE state = 'dead';

-- A restored backup tells nothing: app.restoring is set for its transaction.
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

-- Every row of the history but what happened in a chat (flowhq.model.ChatEvent).
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

-- When a silence begins or is ended; one that is prolonged, or runs out by itself, is not told.
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

-- Gives numbers to what is committed and has none, in the order of writing, and queues it for the
-- endpoints that want it. Runs as flowhq_ops, since it is for all tenants; one at a time.
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

-- Queues once more what an endpoint wants of the kept events from p_since on, the oldest first,
-- p_limit at most. Whose endpoint it is, the caller has looked at.
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

-- Drops the oldest events that are older than p_before, with their deliveries, p_limit at most.
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

-- Rows without a tenant are seen only where no tenant is chosen (Database.installation), and by
-- flowhq_ops, which numbers, queues and drops events by the functions above.
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

-- How many events wait for webhooks, enabled or not, and how many were given up. Each part reads a
-- partial index.
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
    v_function text;
BEGIN
    IF v_lend THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO flowhq_ops', current_schema());
    END IF;
    ALTER VIEW ops_feed OWNER TO flowhq_ops;
    ALTER VIEW ops_deliveries OWNER TO flowhq_ops;
    ALTER VIEW ops_webhook_queues OWNER TO flowhq_ops;
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
