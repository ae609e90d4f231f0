"""The tables of books version 1, as the way back creates them; SQL text only."""

from __future__ import annotations

from typing import Final

TABLES: Final = (
    """
    CREATE TABLE holds (
        account_id bigint NOT NULL,
        request_id text NOT NULL,
        key_id bigint NOT NULL,
        amount bigint NOT NULL,
        state text NOT NULL DEFAULT 'open',
        endpoint text NOT NULL,
        model text,
        created_at timestamptz NOT NULL DEFAULT now(),
        ended_at timestamptz,
        lease_until timestamptz NOT NULL DEFAULT now(),
        known_input bigint NOT NULL DEFAULT 0,
        known_output bigint NOT NULL DEFAULT 0,
        estimated_input bigint NOT NULL DEFAULT 0,
        estimated_output bigint NOT NULL DEFAULT 0,
        rates jsonb,
        upstream_status smallint,
        error_code text,
        upstream_request_id text,
        first_byte_ms integer,
        total_ms integer,
        streamed boolean,
        output_cap bigint,
        capped boolean,
        CONSTRAINT ck_holds_amount_positive CHECK (amount > 0),
        CONSTRAINT ck_holds_ended_iff_not_open CHECK ((state = 'open') = (ended_at IS NULL)),
        CONSTRAINT ck_holds_known_not_negative CHECK (least(known_input, known_output) >= 0),
        CONSTRAINT ck_holds_state_known
            CHECK (state IN ('open', 'settled', 'voided', 'expired'))
    )
    """,
    """
    CREATE TABLE usage (
        account_id bigint NOT NULL,
        request_id text NOT NULL,
        input bigint NOT NULL,
        cached_input bigint NOT NULL,
        output bigint NOT NULL,
        reasoning bigint NOT NULL,
        audio_input bigint NOT NULL,
        audio_output bigint NOT NULL,
        total bigint NOT NULL,
        charge bigint NOT NULL,
        overrun bigint NOT NULL,
        estimated boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        corrected_at timestamptz,
        image_input bigint NOT NULL DEFAULT 0,
        image_output bigint NOT NULL DEFAULT 0,
        CONSTRAINT ck_usage_counts_not_negative CHECK (
            least(input, cached_input, output, reasoning, audio_input, audio_output, total,
                  charge, overrun) >= 0),
        CONSTRAINT ck_usage_images_not_negative CHECK (least(image_input, image_output) >= 0)
    )
    """,
    """
    CREATE TABLE ledger_entries (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        account_id bigint NOT NULL,
        kind text NOT NULL,
        amount bigint NOT NULL,
        balance_after bigint NOT NULL,
        request_id text,
        actor text NOT NULL,
        note text NOT NULL DEFAULT '',
        estimated boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        idempotency_key text,
        asked bigint,
        CONSTRAINT ck_ledger_entries_amount_not_zero CHECK (
            amount <> 0 OR kind IN ('set', 'charge') OR asked IS NOT NULL),
        CONSTRAINT ck_ledger_entries_asked_takes_more CHECK (
            asked IS NULL OR asked < amount AND amount <= 0),
        CONSTRAINT ck_ledger_entries_charge_takes_for_a_request CHECK (
            kind <> 'charge' OR (amount <= 0 AND request_id IS NOT NULL)),
        CONSTRAINT ck_ledger_entries_kind_known CHECK (kind IN
            ('grant', 'top-up', 'set', 'charge', 'refund', 'adjustment', 'expiry'))
    )
    """,
)

GUARDS: Final = (
    "ALTER TABLE holds ADD CONSTRAINT pk_holds PRIMARY KEY (account_id, request_id)",
    "CREATE INDEX ix_holds_request_id ON holds (request_id)",
    "CREATE INDEX ix_holds_open ON holds (account_id, request_id) WHERE state = 'open'",
    "ALTER TABLE usage ADD CONSTRAINT pk_usage PRIMARY KEY (account_id, request_id)",
    "CREATE INDEX ix_usage_account_id_created_at ON usage (account_id, created_at)",
    """
    CREATE INDEX ix_usage_created_at ON usage USING brin (created_at)
        WITH (pages_per_range = 32, autosummarize = true)
    """,
    "ALTER TABLE ledger_entries ADD CONSTRAINT pk_ledger_entries PRIMARY KEY (id)",
    "CREATE INDEX ix_ledger_entries_account_id_id ON ledger_entries (account_id, id)",
    """
    CREATE UNIQUE INDEX uq_ledger_entries_one_charge_per_request
        ON ledger_entries (account_id, request_id) WHERE kind = 'charge'
    """,
    """
    CREATE UNIQUE INDEX uq_ledger_entries_one_entry_per_idempotency_key
        ON ledger_entries (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL
    """,
    """
    CREATE INDEX ix_ledger_entries_not_charges
        ON ledger_entries (kind, id) WHERE kind <> 'charge'
    """,
    """
    CREATE INDEX ix_ledger_entries_not_charges_of_account
        ON ledger_entries (account_id, kind, id) WHERE kind <> 'charge'
    """,
    # The planner must not take the new tables for empty: the constraints below join them.
    "ANALYZE holds",
    "ANALYZE usage",
    "ANALYZE ledger_entries",
    """
    ALTER TABLE holds
        ADD CONSTRAINT fk_holds_account_id FOREIGN KEY (account_id) REFERENCES accounts (id),
        ADD CONSTRAINT fk_holds_key_id FOREIGN KEY (key_id) REFERENCES api_keys (id)
    """,
    """
    ALTER TABLE usage
        ADD CONSTRAINT fk_usage_account_id_request_id
            FOREIGN KEY (account_id, request_id) REFERENCES holds (account_id, request_id)
    """,
    """
    ALTER TABLE ledger_entries
        ADD CONSTRAINT fk_ledger_entries_account_id
            FOREIGN KEY (account_id) REFERENCES accounts (id),
        ADD CONSTRAINT fk_ledger_entries_account_id_request_id
            FOREIGN KEY (account_id, request_id) REFERENCES holds (account_id, request_id)
    """,
    """
    CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
    """,
    """
    CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
    """,
    """
    CREATE TRIGGER usage_changed AFTER UPDATE ON usage
    FOR EACH ROW EXECUTE FUNCTION note_usage_change()
    """,
    """
    CREATE TRIGGER usage_is_late AFTER INSERT ON usage
    FOR EACH ROW WHEN (NEW.created_at < clock_timestamp() - interval '1 minute')
    EXECUTE FUNCTION note_usage_change()
    """,
)
"""Keys, indexes, foreign keys and triggers, once the rows are there."""
