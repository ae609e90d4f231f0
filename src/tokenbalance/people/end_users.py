"""End users behind one key: where a request names them, and what each of them may use.

Pure: only says which settings of a key are valid. Counting and naming are not done here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.people.limits import NO_LIMITS, InvalidLimit, KeyLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

FROM: Final = "sub_account_from"
LIMITS_OF: Final = "sub_account_limits"
FIELDS: Final = ("user", "safety_identifier")
"""Fields of the body of a request that may name its end user."""
HEADER: Final = "header:"
"""How it is written that a header names the end user; the name of the header follows."""
_TOKEN: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_NEVER: Final = frozenset({"authorization", "cookie", "host", "content-length", "content-type"})


def clean_source(source: str | None) -> str | None:
    """Return where a request names its end user in its usual form; None: nowhere.

    Raises:
        InvalidLimit: it is neither a field nor a header that may name one.

    """
    if source is None or source in FIELDS:
        return source
    name = source[len(HEADER) :].lower()
    is_header = source[: len(HEADER)].lower() == HEADER and _TOKEN.fullmatch(name)
    if not is_header or name in _NEVER:
        fields = ", ".join(f"'{field}'" for field in FIELDS)
        raise InvalidLimit(FROM, f"must be {fields}, '{HEADER}' and the name of a header, or null")
    return f"{HEADER}{name}"


def require_source(source: str | None, of_each: KeyLimits) -> None:
    """Require that a key says where requests name its end users, if these are given limits.

    Raises:
        InvalidLimit: it does not, so that the limits would bind nobody.

    """
    if source is None and of_each != NO_LIMITS:
        raise InvalidLimit(FROM, f"is required with {LIMITS_OF}: where requests name end users")


def limits_of_each(document: Mapping[str, object]) -> KeyLimits:
    """Read the limits of each end user.

    Raises:
        InvalidLimit: one is unknown or not valid; its field is that of all of them.

    """
    try:
        return KeyLimits.from_document(document)
    except InvalidLimit as error:
        raise InvalidLimit(LIMITS_OF, str(error)) from None
