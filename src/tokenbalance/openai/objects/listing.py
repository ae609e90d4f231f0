"""How OpenAI lists objects of each kind: what may be asked of a list, and what it shows.

Owns the parameters with their bounds, the states in which an object changes no more, and how a page
is written. Pure; which objects are on a page is never decided here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl

import orjson

from tokenbalance.errors import InvalidRequest, InvalidValue
from tokenbalance.model.values import value
from tokenbalance.openai.documents import optional_integer, type_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tokenbalance.model import Document, Json
    from tokenbalance.openai.operation import Operation

PARAMETERS_MAX: Final = 64
"""Of the query of a list; OpenAI allows 16 pairs of metadata."""
FILTER_CHARS_MAX: Final = 512
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,9}")
_MEMBER: Final = re.compile(r"(\w+)\[([^\[\]]+)\]")
_PAGING: Final = ("after", "before", "limit", "order")
_ORDERS: Final = {"asc": False, "desc": True}
"""Values of `order`; whether the newest object comes first."""


@value
class Listed:
    """How objects of one kind are listed, and when they change."""

    name: str
    """The `object` of their descriptions."""
    limit: int = 20
    """How many are on a page unless the request says otherwise."""
    limit_max: int = 100
    order: str = "desc"
    """Unless the request says otherwise."""
    takes_order: bool = True
    takes_before: bool = False
    filters: tuple[str, ...] = ()
    """Members of the object that it can be chosen by; `metadata` by its own members."""
    final: frozenset[str] | None = None
    """States in which an object is as it will always be; None: it never changes."""
    complete_with: str | None = None
    """A member without which a description is not what a list shows."""

    def may_change(self, state: str | None) -> bool:
        """Whether the upstream may describe an object in this state differently by now."""
        return self.final is not None and state not in self.final


LISTED: Final[Mapping[str, Listed]] = {
    "batch": Listed(
        "batch",
        takes_order=False,
        final=frozenset({"cancelled", "completed", "expired", "failed"}),
    ),
    # What responds to its creation lacks members, and streams describe nothing.
    "chat_completion": Listed(
        "chat.completion", order="asc", filters=("model", "metadata"), complete_with="metadata"
    ),
    "container": Listed("container", filters=("name",), final=frozenset({"deleted", "expired"})),
    "file": Listed(
        "file",
        limit=10_000,
        limit_max=10_000,
        filters=("purpose",),
        final=frozenset({"error", "processed"}),
    ),
    "fine_tuning_job": Listed(
        "fine_tuning.job",
        takes_order=False,
        filters=("metadata",),
        final=frozenset({"cancelled", "failed", "succeeded"}),
    ),
    # Its versions come and go.
    "skill": Listed("skill", final=frozenset()),
    # Has no list at OpenAI; pages show it.
    "upload": Listed("upload", final=frozenset({"cancelled", "completed", "expired"})),
    # Its files come and go.
    "vector_store": Listed("vector_store", takes_before=True, final=frozenset({"expired"})),
    "voice_consent": Listed("audio.voice_consent", takes_order=False),
}


def listed(kind: str) -> Listed:
    """Say how objects of a kind are listed."""
    return LISTED.get(kind) or Listed(kind)


def described_kind(operation: Operation) -> str | None:
    """The kind of object that a response to an operation describes, if the path names it.

    The response may describe another one as well, which has another id.
    """
    if len(operation.uses) != 1 or operation.deletes is not None or operation.lists is not None:
        return None
    return operation.uses[0] if operation.uses[0] in LISTED else None


@value
class ListQuery:
    """What is asked of a list."""

    kind: str
    limit: int
    newest_first: bool
    after: str | None = None
    """The page begins after this object."""
    before: str | None = None
    """The page ends before this object."""
    wanted: tuple[tuple[str, Json], ...] = ()
    """Members that the objects have, with their values; of `metadata`, some of its members."""

    def matches(self, document: Document) -> bool:
        """Whether an object is to be listed."""
        return all(_has(document.get(name), value) for name, value in self.wanted)


def read_query(kind: str, query: bytes) -> ListQuery:
    """Read the query of a list; parameters that it does not have are ignored, as at OpenAI.

    Raises:
        InvalidRequest: a parameter has a wrong value, or is there twice.

    """
    rule = listed(kind)
    given = _parameters(rule, query)
    order = (given.get("order") if rule.takes_order else None) or rule.order
    if order not in _ORDERS:
        msg = "Invalid value for 'order'. Supported values are: 'asc' and 'desc'."
        raise InvalidValue(msg, param="order")
    return ListQuery(
        kind,
        _limit(rule, given.get("limit")),
        _ORDERS[order],
        given.get("after") or None,
        (given.get("before") or None) if rule.takes_before else None,
        tuple(_filters(rule, given)),
    )


def page_body(objects: Sequence[tuple[str, str]], *, has_more: bool) -> bytes:
    """Write a page.

    Args:
        objects: ids, each with the object's description as JSON.
        has_more: whether another page follows.

    """
    ids = (objects[0][0], objects[-1][0]) if objects else (None, None)
    data = ",".join([description for _, description in objects])
    tail = orjson.dumps({"first_id": ids[0], "last_id": ids[1], "has_more": has_more})
    return b'{"object":"list","data":[%b],%b' % (data.encode(), tail[1:])


def undescribed(kind: str, object_id: str) -> str:
    """Describe an object of which nothing but its id is known."""
    return orjson.dumps({"id": object_id, "object": listed(kind).name}).decode()


def _parameters(rule: Listed, query: bytes) -> dict[str, str]:
    try:
        fields = parse_qsl(
            query.decode("ascii", "replace"),
            keep_blank_values=True,
            max_num_fields=PARAMETERS_MAX,
        )
    except ValueError:
        msg = f"Invalid query: it has more than {PARAMETERS_MAX} parameters."
        raise InvalidRequest(msg) from None
    given: dict[str, str] = {}
    for name, text in fields:
        if name.partition("[")[0] not in {*_PAGING, *rule.filters}:
            continue
        if name in given:
            shown = name[:FILTER_CHARS_MAX]
            msg = f"Invalid '{shown}': it is in the query more than once."
            raise InvalidValue(msg, param=shown)
        given[name] = text
    return given


def _limit(rule: Listed, text: str | None) -> int:
    if text is None:
        return rule.limit
    if not _DIGITS.fullmatch(text):
        raise type_error("limit", "an integer", text)
    number: Json = int(text)
    limit = optional_integer({"limit": number}, "limit", minimum=1, maximum=rule.limit_max)
    return cast("int", limit)


def _filters(rule: Listed, given: Mapping[str, str]) -> Iterable[tuple[str, Json]]:
    for name in rule.filters:
        if name != "metadata":
            if name in given:
                yield name, _filter_value(name, given[name])
            continue
        if given.get(name) == "null":
            yield name, None
        pairs: dict[str, Json] = {
            found[2]: _filter_value(param, text)
            for param, text in given.items()
            if (found := _MEMBER.fullmatch(param)) and found[1] == name
        }
        if pairs:
            yield name, pairs


def _filter_value(param: str, text: str) -> str:
    if len(text) > FILTER_CHARS_MAX or len(param) > FILTER_CHARS_MAX or "\0" in text + param:
        shown = param[:FILTER_CHARS_MAX]
        msg = f"Invalid '{shown}': expected at most {FILTER_CHARS_MAX} characters, none of them 0."
        raise InvalidValue(msg, param=shown)
    return text


def _has(value: Json, wanted: Json) -> bool:
    if not isinstance(wanted, dict):
        return value == wanted
    return isinstance(value, dict) and all(
        name in value and value[name] == one for name, one in wanted.items()
    )
