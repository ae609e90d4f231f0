"""Which function serves which operation: by its method and path, else by its family.

An operation of the table that has neither returns the example of the documentation, with a fresh id
where it makes an object.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from tokenbalance.openai.families import CHAT, COMPLETIONS, EMBEDDINGS, INPUT_TOKENS, RESPONSES
from tokenbalance.sandbox.completions import complete
from tokenbalance.sandbox.containers import CONTAINERS
from tokenbalance.sandbox.conversations import CONVERSATIONS
from tokenbalance.sandbox.decisions import DECISIONS
from tokenbalance.sandbox.embeddings import embed
from tokenbalance.sandbox.faults import no_example
from tokenbalance.sandbox.files import FILES
from tokenbalance.sandbox.images import IMAGES
from tokenbalance.sandbox.models import list_models, show_model
from tokenbalance.sandbox.moderations import moderate
from tokenbalance.sandbox.replies import Whole, new_id
from tokenbalance.sandbox.skills import SKILLS
from tokenbalance.sandbox.speech import SPEECH
from tokenbalance.sandbox.store_files import STORE_FILES
from tokenbalance.sandbox.stored_chats import STORED_CHATS
from tokenbalance.sandbox.stored_responses import STORED_RESPONSES
from tokenbalance.sandbox.transcriptions import TRANSCRIPTIONS
from tokenbalance.sandbox.uploads import UPLOADS
from tokenbalance.sandbox.vector_stores import VECTOR_STORES
from tokenbalance.sandbox.voices import VOICES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokenbalance.openai.operation import Family, Operation
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.fields import Fields
    from tokenbalance.sandbox.replies import Reply

_PREFIX: Final = re.compile(r"[A-Za-z]+[-_]")


def _by_fields(generate: Callable[[Fields], Reply]) -> Endpoint:
    """Make an endpoint of a function that needs nothing but fields."""
    return lambda call: generate(call.fields)


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "GET /models": lambda _: list_models(),
    "GET /models/{model}": lambda call: show_model(call.path["model"]),
    "POST /completions": _by_fields(complete),
    "POST /embeddings": _by_fields(embed),
    "POST /moderations": _by_fields(moderate),
    **STORED_CHATS,
    **STORED_RESPONSES,
    **CONVERSATIONS,
    **FILES,
    **UPLOADS,
    **VECTOR_STORES,
    **STORE_FILES,
    **CONTAINERS,
    **SKILLS,
    **IMAGES,
    **SPEECH,
    **TRANSCRIPTIONS,
    **VOICES,
    **DECISIONS,
}
"""By method and path."""
_BY_FAMILY: Final[Mapping[Family, Endpoint]] = {
    CHAT: ENDPOINTS["POST /chat/completions"],
    COMPLETIONS: ENDPOINTS["POST /completions"],
    EMBEDDINGS: ENDPOINTS["POST /embeddings"],
    INPUT_TOKENS: ENDPOINTS["POST /responses/input_tokens"],
    RESPONSES: ENDPOINTS["POST /responses"],
}


def endpoint_of(operation: Operation) -> Endpoint:
    """Return what serves an operation of the table."""
    found = ENDPOINTS.get(f"{operation.method} {operation.path}")
    return found or _BY_FAMILY.get(operation.family) or partial(_example, operation)


def _example(operation: Operation, _call: Call) -> Whole:
    if operation.examples is None:
        raise no_example(operation.method, operation.path)
    document = operation.examples.response
    name = document.get("id")
    prefix = _PREFIX.match(name) if isinstance(name, str) else None
    if operation.method == "POST" and operation.creates and prefix is not None:
        return Whole({**document, "id": new_id(prefix[0])})
    return Whole(document)
