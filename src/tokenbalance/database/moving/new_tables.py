"""The tables of books version 2, as the migration creates them; SQL text only."""

from __future__ import annotations

from typing import Final

KINDS: Final = (
    "input",
    "cached_input",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
)
"""What version 1 counts, in columns of these names; version 2 has rows."""

TABLES: Final = (
    """
    CREATE TABLE open_holds (
        request_id text COLLATE "C" NOT NULL,
        account_id bigint NOT NULL,
        key_id bigint NOT NULL,
        amount bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        lease_until timestamptz NOT NULL DEFAULT now(),
        known_input bigint NOT NULL DEFAULT 0,
        known_output bigint NOT NULL DEFAULT 0,
        estimated_input bigint NOT NULL DEFAULT 0,
        estimated_output bigint NOT NULL DEFAULT 0,
        endpoint text NOT NULL,
        model text,
        rates jsonb,
        CONSTRAINT pk_open_holds PRIMARY KEY (request_id, account_id),
        CONSTRAINT ck_open_holds_nothing_is_negative
            CHECK (least(amount, known_input, known_output) >= 0)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0,
            autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = -1,
            vacuum_truncate = false)
    """,
    # Wide columns first, so that nothing is padded.
    """
    CREATE TABLE ledger (
        id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        account_id bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        amount bigint NOT NULL,
        balance_after bigint,
        key_id bigint,
        hold bigint,
        overrun bigint NOT NULL DEFAULT 0,
        total bigint NOT NULL DEFAULT 0,
        started_at timestamptz,
        estimated_input bigint,
        estimated_output bigint,
        output_cap bigint,
        asked bigint,
        first_byte_ms integer,
        total_ms integer,
        upstream_status smallint,
        estimated boolean NOT NULL DEFAULT false,
        streamed boolean,
        capped boolean,
        kind text NOT NULL,
        state text,
        request_id text COLLATE "C",
        endpoint text,
        model text,
        actor text NOT NULL,
        note text NOT NULL DEFAULT '',
        error_code text,
        upstream_request_id text,
        idempotency_key text,
        quantities jsonb,
        rates jsonb,
        CONSTRAINT ck_ledger_kind_known CHECK (kind IN
            ('grant', 'top-up', 'set', 'charge', 'refund', 'adjustment', 'expiry', 'void')),
        CONSTRAINT ck_ledger_state_fits_kind CHECK (
            CASE kind WHEN 'charge' THEN state IN ('settled', 'expired') AND amount <= 0
                      WHEN 'void' THEN state = 'voided' AND amount = 0
                      ELSE state IS NULL END IS TRUE),
        CONSTRAINT ck_ledger_end_has_its_request CHECK (
            state IS NULL OR num_nulls(request_id, key_id, hold, endpoint, started_at) = 0),
        CONSTRAINT ck_ledger_amount_not_zero CHECK (
            amount <> 0 OR kind IN ('set', 'charge', 'void') OR asked IS NOT NULL
            OR kind = 'adjustment' AND request_id IS NOT NULL),
        CONSTRAINT ck_ledger_balance_after_known CHECK (balance_after IS NOT NULL OR amount = 0),
        CONSTRAINT ck_ledger_asked_takes_more CHECK (
            asked IS NULL OR asked < amount AND amount <= 0)
    )
    """,
    """
    CREATE TABLE usage_day_kinds (
        account_id bigint NOT NULL,
        day date NOT NULL,
        model text NOT NULL,
        key_id bigint NOT NULL,
        kind text NOT NULL,
        quantity bigint NOT NULL,
        CONSTRAINT pk_usage_day_kinds PRIMARY KEY (account_id, day, model, key_id, kind)
    )
    """,
    """
    CREATE TABLE usage_total_kinds (
        day date NOT NULL,
        model text NOT NULL,
        kind text NOT NULL,
        quantity bigint NOT NULL,
        CONSTRAINT pk_usage_total_kinds PRIMARY KEY (day, model, kind)
    )
    """,
)

# Built over all rows at once, which takes a fraction of the time of adding rows one by one.
INDEXES: Final = (
    "CREATE UNIQUE INDEX IF NOT EXISTS pk_ledger ON ledger (id, account_id)",
    """
    CREATE UNIQUE INDEX IF NOT EXISTS uq_ledger_one_end_per_request
        ON ledger (request_id, account_id) WHERE state IS NOT NULL
    """,
    """
    CREATE UNIQUE INDEX IF NOT EXISTS uq_ledger_one_correction_per_request
        ON ledger (request_id, account_id) WHERE kind = 'adjustment' AND request_id IS NOT NULL
    """,
    "CREATE INDEX IF NOT EXISTS ix_ledger_account_id_id ON ledger (account_id, id)",
    """
    CREATE INDEX IF NOT EXISTS ix_ledger_created_at ON ledger USING brin (created_at)
        WITH (pages_per_range = 32, autosummarize = true)
    """,
    """
    CREATE UNIQUE INDEX IF NOT EXISTS uq_ledger_one_entry_per_idempotency_key
        ON ledger (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL
    """,
    "CREATE INDEX IF NOT EXISTS ix_ledger_not_ends ON ledger (kind, id) WHERE state IS NULL",
    """
    CREATE INDEX IF NOT EXISTS ix_ledger_not_ends_of_account
        ON ledger (account_id, kind, id) WHERE state IS NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS ix_ledger_later
        ON ledger (request_id, account_id) WHERE state IS NULL AND request_id IS NOT NULL
    """,
)

INDEX_OF_DAYS: Final = (
    "CREATE INDEX IF NOT EXISTS ix_usage_day_kinds_day_account_id"
    " ON usage_day_kinds (day, account_id)"
)

GUARDS: Final = (
    "ALTER TABLE ledger ADD CONSTRAINT pk_ledger PRIMARY KEY USING INDEX pk_ledger",
    """
    CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
    """,
    """
    CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
    """,
    # Rows are summed minutes after they were written. If one is written long after its own time,
    # the sums of its day are computed again. The request path only evaluates the condition.
    """
    CREATE TRIGGER ledger_is_late AFTER INSERT ON ledger
    FOR EACH ROW WHEN (NEW.created_at < clock_timestamp() - interval '1 minute'
                       AND NEW.key_id IS NOT NULL)
    EXECUTE FUNCTION note_usage_change()
    """,
)
"""What makes the ledger append-only, once everything is in it."""
