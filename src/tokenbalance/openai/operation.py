"""What an operation of the upstream is: everything that differs between two of them, as data.

Owns the shapes only. The families are in `families`, the table is in `operations`; a function that
needs to know about an endpoint is given an `Operation` and reads its fields.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokenbalance.model import Document, Estimate, Json, Usage
    from tokenbalance.openai.ceilings.hosted_tools import Offer
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model


_GROUPS: Final = {"uploads": "files", "fine_tuning": "graders"}
"""Groups of operations that are not called as the first segment of their paths."""
# A name in a path, such as `chat` or `input_tokens`.
_WORD: Final = re.compile(r"[a-z]+(?:_[a-z]+)*")


class Body(enum.Enum):
    """A kind of request body, by its media type."""

    JSON = "application/json"
    FORM = "multipart/form-data"


class Answer(enum.Enum):
    """How the body of a response is read."""

    JSON = "a document, or a stream of events where the request asks for one"
    EVENTS = "a document, or a stream of events that is not charged"
    BYTES = "bytes that are passed on as they come, with ranges"
    NOTHING = "no body"


@dataclass(frozen=True, slots=True, eq=False)
class Ceiling:
    """How the cost of a request is bounded before it is sent."""

    rule: Callable[[Document, Model, Measure], Estimate]
    """The estimate of a document, its text measured by `Measure`. Raises `InvalidRequest`."""
    template: Callable[[Model, Document], Model]
    """The model's facts for one request, where the model's chat template is not known."""
    covers: str
    """What a hold covers, as the documentation says it: `the counted input plus ...`."""
    offers: Callable[[Document], list[Offer]] | None = None
    """What the upstream may run for a document, each with its path; None: it runs nothing."""
    fixed: int | None = None
    """Tokens of input that are held whatever is asked for, and charged where the response has no
    usage, since nothing is known of the operation; None: the rule says how many."""
    uncounted: Callable[[Document], int] | None = None
    """Tokens at most of the first turn that `/responses/input_tokens` does not count for the same
    document; None: that operation does not take it."""
    reckon: Callable[[Document, Model, Measure], Usage] | None = None
    """What a document has used where the response does not report it; None: the tokens of the
    input, and of what was written."""
    names_model: bool = True
    """A document names the model that it is for, as `model`."""
    model_of: Callable[[Document], str | None] | None = None
    """Finds the model where that is not so."""


@dataclass(frozen=True, slots=True, eq=False)
class Tariff:
    """What a request is charged for."""

    text: str
    """As the documentation says it."""
    is_free: bool = False
    """Nothing is held or charged."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What is sent to an operation and what comes back, for the documentation."""

    requests: Mapping[str, Document]
    """Documents to send, by what they show; empty where none is sent."""
    response: Document
    stream: str | None = None
    """The response as server-sent events, where they can be asked for."""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """A value for each `{...}` of the path."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Family:
    """What operations of one kind have in common. Compared and hashed by identity."""

    tariff: Tariff
    bodies: tuple[Body, ...] = (Body.JSON,)
    """Kinds of request bodies that are accepted; empty: no body is read."""
    ceiling: Ceiling | None = None
    """None: no field of a request is checked, and nothing can be held."""
    place: str | None = None
    """Where `objects.references` begins its search for ids in a document; None: ids other than that
    of a fine-tuned model cannot occur."""
    reports_on_request: bool = False
    """Streams report their usage only if `stream_options.include_usage` is set."""
    form_bytes_max: int | None = None
    """Of the files of a form; None: as many as the operator allows."""
    has_items: bool = False
    """The output of a response is a list of items, which may be billed beside its usage."""
    has_output: bool = True
    """A usage report without output tokens is incomplete."""
    streams: bool = True
    """A response comes as a stream of events where the request asks for one."""
    keeps: str | None = None
    """The member with items that the upstream reads again in later requests, unless told not to."""
    reads: Callable[[Document], Usage | None] | None = None
    """Reads what a response reports where that is no `usage`."""
    undivided: tuple[str, ...] = ()
    """The kinds that the tokens of a side are where a report does not divide it."""
    draws: bool = False
    """Each response has as many images as the request asks for, `n`."""
    listens_to: str | None = None
    """The field of a form whose file is audio, the length of which bounds the cost."""
    fee: str | None = None
    """The name of the fee of each request: such a request names no model, so that a rate card
    prices it by the row that this name matches."""
    switches: tuple[str, ...] = ()
    """Fields that decide the cost and are true or false; in a form they are spelled out."""
    numbers: tuple[str, ...] = ()
    """Fields that decide the cost and are integers, likewise."""
    creates: tuple[str, ...] = ()
    """Objects that a response names and that become the caller's, as `kind:path` of their ids:
    `file:$.id`, `item:$.output[].id`; in streams `response:sse:response.created:$.response.id`."""
    derived: tuple[str, ...] = ()
    """Objects that the caller did not make and that belong to whom they came from, likewise."""
    examples: Examples | None = None
    """Those of each of its operations that has none of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of the upstream that a caller may use: a row of the table."""

    method: str
    path: str
    """Below `/v1`, as OpenAI's reference writes it: `/models/{model}`. With `?beta=true` where that
    query makes it another operation; only a query that is written here goes upstream."""
    family: Family
    summary: str
    lists: str | None = None
    """The kind of the upstream's objects that the response lists."""
    uses: tuple[str, ...] = ()
    """The kinds of the objects that the path names, in the order of its parameters."""
    deletes: str | None = None
    """The kind of the object that is deleted: the last one that the path names."""
    query: tuple[str, ...] = ()
    """The parameters of a request's query that go upstream, lists as well: `include` is `include[]`
    too. Of a list that is answered here, those that it is answered by."""
    own_creates: tuple[str, ...] = ()
    """In addition to its family's."""
    own_derived: tuple[str, ...] = ()
    """In addition to its family's."""
    answer: Answer = Answer.JSON
    own_examples: Examples | None = None
    """In place of its family's."""
    # What follows from these is asked several times per request, so it is computed once.
    charged: bool = field(init=False)
    """Credits are held and charged."""
    group: str = field(init=False)
    """What rules of keys call it and its kin, such as `chat`."""
    of_models: bool = field(init=False)
    """The response describes models, some of which belong to other users."""
    lists_owned: bool = field(init=False)
    """The response lists objects by their owner: all that the caller has of a kind."""
    bodies: tuple[Body, ...] = field(init=False)
    """Kinds of request bodies that are accepted; empty: no body is read."""
    ceiling: Ceiling | None = field(init=False)
    """How a request is bounded; None: its fields are not checked."""
    has_fixed_ceiling: bool = field(init=False)
    """Nothing is known of its responses, so that its hold is the same for all."""

    def __post_init__(self) -> None:
        """Compute what follows from the other fields."""
        of_models = self.lists == "model" or "model" in self.uses
        ceiling = self.family.ceiling
        derived = {
            "charged": not self.family.tariff.is_free,
            "group": _group_of(self.path),
            "of_models": of_models,
            "lists_owned": self.lists is not None and not self.uses and not of_models,
            "bodies": self.family.bodies,
            "ceiling": ceiling,
            "has_fixed_ceiling": ceiling is not None and ceiling.fixed is not None,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def creates(self) -> tuple[str, ...]:
        """Objects of a response that become the caller's, made by the request or derived."""
        return (
            *self.family.creates,
            *self.own_creates,
            *self.family.derived,
            *self.own_derived,
        )

    def group_at(self, path: bytes) -> str:
        """Its group; that of the path where the operation is not known.

        Args:
            path: by which it was found.

        """
        return _group_of(path.decode("ascii")) if self.has_fixed_ceiling else self.group

    def path_ids(self, path: bytes) -> tuple[str, ...]:
        """The values of the path's parameters, in their order.

        Of a path that is not known, they are all segments that are not plain words.

        Args:
            path: by which the operation was found.

        """
        if self.has_fixed_ceiling:
            return tuple(
                one for one in path.decode("ascii").split("/")[1:] if not _WORD.fullmatch(one)
            )
        named = zip(self.path.split("/"), path.decode("ascii").split("/"), strict=True)
        return tuple(value for name, value in named if name.startswith("{"))

    def target(self, path: bytes, query: str) -> str:
        """The path below the upstream's base URL, with the query that goes there.

        Args:
            path: by which the operation was found.
            query: of the request, as far as the operation has it; empty: none.

        """
        if "{" not in self.path:
            target = self.path
        else:
            _, mark, own = self.path.partition("?")
            target = path.decode("ascii") + mark + own
        if query:
            target += ("&" if "?" in target else "?") + query
        return target

    @property
    def metering(self) -> str:
        """What is held and charged, as the documentation says it."""
        ceiling, tariff = self.family.ceiling, self.family.tariff
        if tariff.is_free or ceiling is None:
            return tariff.text
        return f"the hold covers {ceiling.covers}; {tariff.text}"

    @property
    def examples(self) -> Examples | None:
        """What is sent and what comes back, by example."""
        return self.own_examples or self.family.examples

    def usage_request(self, document: Document) -> dict[str, Json]:
        """Members to set in a document so that its stream reports its usage; empty if it will."""
        if not self.family.reports_on_request or not document.get("stream"):
            return {}
        options = document.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage") is True:
            return {}
        return {"stream_options": {"include_usage": True}}


def _group_of(path: str) -> str:
    segment = path[1:].partition("?")[0].partition("/")[0]
    return _GROUPS.get(segment, segment)
