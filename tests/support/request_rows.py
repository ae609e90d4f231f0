"""Requests as one table: what is open, and what has ended together with its correction."""

from __future__ import annotations

from typing import Final

REQUESTS: Final = """
(SELECT account_id, request_id, key_id, 'open' AS state, amount, endpoint, model, rates, created_at,
        NULL::timestamptz AS ended_at, lease_until, known_input, known_output, estimated_input,
        estimated_output, NULL::bigint AS charge, NULL::bigint AS overrun, NULL::bigint AS total,
        0 AS input, 0 AS output, NULL::jsonb AS quantities, NULL::boolean AS estimated,
        false AS corrected,
        NULL::smallint AS upstream_status, NULL::text AS error_code,
        NULL::text AS upstream_request_id, NULL::integer AS first_byte_ms,
        NULL::integer AS total_ms, NULL::boolean AS streamed, NULL::bigint AS output_cap,
        NULL::boolean AS capped
   FROM open_holds
  WHERE amount > 0
  UNION ALL
 SELECT e.account_id, e.request_id, e.key_id, e.state, e.hold, e.endpoint, e.model, e.rates,
        e.started_at, e.created_at, NULL, 0, 0, e.estimated_input, e.estimated_output,
        CASE WHEN e.kind = 'charge' THEN -e.amount - coalesce(c.amount, 0) END,
        CASE WHEN e.kind = 'charge' THEN e.overrun + coalesce(c.overrun, 0) END,
        CASE WHEN e.kind = 'charge' THEN e.total + coalesce(c.total, 0) END,
        coalesce((e.quantities->'input')::bigint, 0)
        + coalesce((c.quantities->'input')::bigint, 0),
        coalesce((e.quantities->'output')::bigint, 0)
        + coalesce((c.quantities->'output')::bigint, 0),
        e.quantities,
        CASE WHEN e.kind = 'charge' THEN coalesce(c.estimated, e.estimated) END,
        c.id IS NOT NULL,
        coalesce(c.upstream_status, e.upstream_status), coalesce(c.error_code, e.error_code),
        coalesce(c.upstream_request_id, e.upstream_request_id),
        coalesce(c.first_byte_ms, e.first_byte_ms), coalesce(c.total_ms, e.total_ms),
        coalesce(c.streamed, e.streamed), coalesce(c.output_cap, e.output_cap),
        coalesce(c.capped, e.capped)
   FROM ledger e
   LEFT JOIN ledger c ON c.request_id = e.request_id AND c.account_id = e.account_id
    AND c.kind = 'adjustment'
  WHERE e.state IS NOT NULL)
"""
"""The FROM clause, to be given a name. `quantities` are those of the end, uncorrected."""
