-- Who wrote, in which chat, and what: contacts, conversations and the ledger of messages.

CREATE TYPE message_direction AS ENUM ('IN', 'OUT');
CREATE TYPE message_type AS ENUM (
    'text', 'image', 'video', 'document', 'audio', 'sticker', 'interactive', 'reaction',
    'location', 'contacts', 'poll', 'order', 'template', 'unsupported'
);
CREATE TYPE message_status AS ENUM (
    'received', 'queued', 'sent', 'failed', 'delivered', 'read', 'played'
);

CREATE TABLE contacts (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    phone_number text,
    lid text,
    bsuid text,
    name text,
    push_name text,
    opted_out_at timestamptz,
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

CREATE TABLE conversations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    chat_key text NOT NULL,
    contact_id uuid NOT NULL,
    last_message text,
    last_message_at timestamptz,
    last_customer_message_at timestamptz,
    last_person_message_at timestamptz,
    last_outgoing_at timestamptz,
    bot_paused_until timestamptz,
    bot_state jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT conversations_pkey PRIMARY KEY (id),
    CONSTRAINT conversations_chat_key_key UNIQUE (tenant_id, chat_key),
    CONSTRAINT conversations_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT conversations_contact_id_fkey
        FOREIGN KEY (contact_id) REFERENCES contacts (id) ON DELETE CASCADE,
    CONSTRAINT conversations_last_message_check CHECK (char_length(last_message) <= 1000)
);
CREATE INDEX conversations_contact_id_idx ON conversations (contact_id);
CREATE INDEX conversations_last_message_at_idx
    ON conversations (tenant_id, last_message_at DESC NULLS LAST);
CREATE TRIGGER conversations_updated_at BEFORE UPDATE ON conversations
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TABLE message_logs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    direction message_direction NOT NULL,
    from_number text NOT NULL,
    to_number text NOT NULL,
    message_text text NOT NULL,
    wa_message_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    conversation_id uuid,
    type message_type NOT NULL DEFAULT 'text',
    content jsonb NOT NULL DEFAULT '{}',
    status message_status NOT NULL,
    wa_timestamp timestamptz,
    CONSTRAINT message_logs_pkey PRIMARY KEY (id, created_at),
    CONSTRAINT message_logs_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT message_logs_conversation_id_fkey
        FOREIGN KEY (conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
) PARTITION BY RANGE (created_at);
CREATE INDEX message_logs_tenant_id_created_at_idx ON message_logs (tenant_id, created_at);
CREATE INDEX message_logs_conversation_id_created_at_idx
    ON message_logs (conversation_id, created_at);
CREATE TABLE message_logs_default PARTITION OF message_logs DEFAULT;
