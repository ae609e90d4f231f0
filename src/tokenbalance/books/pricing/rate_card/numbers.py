"""The numbers of a rate card: rates, fees and factors, exact and within limits."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.pricing.rate_card.mistakes import Mistake
from tokenbalance.books.pricing.rates import NANO

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card.mistakes import Place

CREDITS_MAX: Final = 1_000_000
"""The most credits for one token, or for one of anything else."""
FACTOR_MAX: Final = 1000
DECIMALS_MAX: Final = 9
TOKENS_MAX: Final = 10**12
"""The most tokens of a border."""
_DIGITS_MAX: Final = 40
"""The most digits of a number; a card with more has a mistake in it."""
_RATIO: Final = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")


def read_rate(place: Place, value: object, per: int = 1) -> int:
    """Read credits for `per` tokens (or for one of anything else) as nano-credits for one."""
    rate = _number(place, value)
    if rate < 0:
        raise Mistake(place, "must not be negative")
    if rate > CREDITS_MAX * per:
        raise Mistake(place, f"must not be more than {CREDITS_MAX} credits{_each(per)}")
    nano = Fraction(rate) * NANO / per
    if nano.denominator != 1:
        raise Mistake(place, f"must not have more than {DECIMALS_MAX} decimal places{_each(per)}")
    return nano.numerator


def read_factor(place: Place, value: object) -> Fraction:
    """Read a factor: a number, or a text such as "5/3"."""
    if isinstance(value, str):
        ratio = _RATIO.fullmatch(value)
        if ratio is None or not int(ratio[2]):
            raise Mistake(place, 'must be a number, or a fraction such as "5/3"')
        factor = Fraction(int(ratio[1]), int(ratio[2]))
    else:
        factor = Fraction(_number(place, value))
    if not 0 < factor <= FACTOR_MAX:
        raise Mistake(place, f"must be more than 0, and not more than {FACTOR_MAX}")
    return factor


def read_border(place: Place, value: object) -> int:
    """Read a number of tokens."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= TOKENS_MAX:
        raise Mistake(place, f"must be an integer from 0 to {TOKENS_MAX}")
    return value


def _number(place: Place, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Mistake(place, "must be a number")
    number = Decimal(value)
    if not number.is_finite():
        raise Mistake(place, "must be a number")
    _, digits, exponent = number.as_tuple()
    if len(digits) > _DIGITS_MAX or abs(cast("int", exponent)) > _DIGITS_MAX:
        raise Mistake(place, "has too many digits")
    return number


def _each(per: int) -> str:
    return "" if per == 1 else f" per token, and this rate is per {per} tokens"
