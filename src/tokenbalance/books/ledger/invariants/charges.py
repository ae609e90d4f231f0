"""What must be true of each charge at rates: it is what `pricing.rates` computes of the usage."""

from __future__ import annotations

from typing import Final

from tokenbalance.books.ledger.invariants.proof import Invariant
from tokenbalance.books.pricing.rates import AMOUNT_MAX
from tokenbalance.books.pricing.units import UNITS

# The computation of `rates.py` once more, in another language. Few different rates are ever in
# use, so each is read only once.
_RATES: Final = ", ".join(
    "coalesce(" + "".join(f"(rates->>'{name}')::numeric, " for name in ancestry) + f"0) AS {kind}"
    for kind, ancestry in UNITS.ancestry.items()
)
_PRICED: Final = f"""
  FROM (SELECT rates, {_RATES}
          FROM (SELECT DISTINCT rates FROM holds WHERE rates IS NOT NULL) used) r
  JOIN holds h ON h.rates = r.rates
  JOIN usage u ON u.account_id = h.account_id AND u.request_id = h.request_id
 CROSS JOIN LATERAL (SELECT least(u.audio_input, u.input) AS audio_input,
                            least(u.audio_output, u.output) AS audio_output) audio
 CROSS JOIN LATERAL (SELECT least(u.image_input, u.input - audio.audio_input) AS image_input,
                            least(u.image_output, u.output - audio.audio_output) AS image_output
                    ) image
 CROSS JOIN LATERAL (SELECT u.input - audio.audio_input - image.image_input AS input,
                            u.output - audio.audio_output - image.image_output AS output) text
 CROSS JOIN LATERAL (SELECT least(u.cached_input, text.input) AS cached_input,
                            least(u.reasoning, text.output) AS reasoning) part
 CROSS JOIN LATERAL (SELECT CASE WHEN greatest(u.input, u.output, u.total) > 0 THEN
           least({AMOUNT_MAX}, ceil(
               r.request
               + audio.audio_input * r.audio_input + image.image_input * r.image_input
               + part.cached_input * r.cached_input
               + (text.input - part.cached_input) * r.input
               + audio.audio_output * r.audio_output + image.image_output * r.image_output
               + part.reasoning * r.reasoning
               + (text.output - part.reasoning + greatest(u.total - u.input - u.output, 0))
                 * r.output))
           ELSE 0 END AS charge) due
 WHERE u.charge <> due.charge
"""  # noqa: S608 - made of constants
EACH_CHARGE_IS_RATES_TIMES_USAGE: Final = Invariant(
    f"EXISTS (SELECT {_PRICED})",
    f"""
SELECT format('request %s of account %s: was charged %s credits, its rates and usage make %s',
              h.request_id, h.account_id, u.charge, due.charge)
       {_PRICED}
 ORDER BY h.account_id, h.request_id
""",
)
