"""Names of models: by which other names a request's model is known. Pure."""

from __future__ import annotations

import re
from typing import Final

FINE_TUNE: Final = "ft:"
"""How the name of a model begins that was tuned from another: `ft:gpt-4o:acme::1`."""
GATEWAYS: Final = ("openai/", "azure/")
"""How gateways begin the names of OpenAI's models."""
_GATEWAY: Final = re.compile("|".join(map(re.escape, GATEWAYS)))


def forms_of(name: str) -> tuple[str, ...]:
    """Return a name in lower case, and those of the model that it stands for.

    These are the name without that of a gateway, and the name of the model that it was tuned from.
    """
    folded = name.casefold()
    plain = _GATEWAY.sub("", folded, count=1) if _GATEWAY.match(folded) else folded
    base = plain.removeprefix(FINE_TUNE).partition(":")[0]
    return (folded, plain, base) if plain.startswith(FINE_TUNE) else (folded, plain)
