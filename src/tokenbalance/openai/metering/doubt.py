"""After the response: can the reported usage be complete?

OpenAI's is. Other servers may report no input or no output, or the usage of one choice or prompt of
several. What they leave out is counted, and the charge is flagged as estimated. (A report of zeros
only, and a total below its parts, do not count as reports at all: `outcome`, `usage`.)

Pure: no I/O, no clock. It must never lower what was reported, nor raise what OpenAI reports: our
counts with OpenAI's vocabularies never exceed its own, and with others not by much.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from tokenbalance.model import Usage
from tokenbalance.openai.metering.bills import second_total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.model import Document, Estimate, Json
    from tokenbalance.openai.operation import Operation

_TOKEN_BYTES: Final = 5
"""Bytes of input per token from which a report may be incomplete. English has 4.5; texts of longer
words are counted without need."""
_NEARLY: Final = 7, 8
"""The fraction of a count that a report must reach: other vocabularies may need fewer tokens."""


class Counter(Protocol):
    """Counts what one request has used."""

    @property
    def endpoint(self) -> Operation:
        """The operation that the request is for."""
        ...

    @property
    def document(self) -> Document:
        """The request's body."""
        ...

    def input_bound(self) -> int:
        """The most tokens that the input may have, without counting them."""
        ...

    def __call__(self, *texts: str) -> Usage:
        """Count the input, and a text for each choice; CPU-bound."""
        ...


def has_several_choices(document: Document) -> bool:
    """Whether a request asks for more than one choice."""
    choices = document.get("n")
    return (isinstance(choices, int) and choices > 1) or _has_several_texts(document.get("prompt"))


def is_doubtful(usage: Usage, operation: Operation, document: Document) -> bool:
    """Whether a report may be incomplete, as far as can be said without counting."""
    if not usage.total or operation.has_fixed_ceiling or not _is_of_text(operation):
        return False
    if not operation.family.has_output:
        return not usage.input or _has_several_texts(document.get("input"))
    return not (usage.input and usage.output) or has_several_choices(document)


def reckoned(usage: Usage | None, texts: Sequence[str], count: Counter, ceiling: Usage) -> Usage:
    """Return what a request has used: as reported, and counted where the report is incomplete.

    What is counted never exceeds the ceiling, which the upstream had to keep. CPU-bound.
    """
    if usage is None:
        return _within(ceiling, count(*texts))
    if not is_doubtful(usage, count.endpoint, count.document) or _covers_its_bytes(usage, count):
        return usage
    return _completed(usage, _within(ceiling, count(*texts)), count.document)


def _is_of_text(operation: Operation) -> bool:
    """Whether what an operation uses can be counted in the texts that come and go."""
    ceiling = operation.ceiling
    return ceiling is None or ceiling.reckon is None


def _within(ceiling: Usage, counted: Usage) -> Usage:
    inputs, outputs = min(counted.input, ceiling.input), min(counted.output, ceiling.output)
    quantities = {**counted.quantities, "input": inputs, "output": outputs}
    return replace(counted, quantities=quantities, total=inputs + outputs)


PLAUSIBLE_TOKENS: Final = 2**24
"""More tokens than any model reads and writes in one request."""


def within_reason(usage: Usage, ceiling: Usage) -> Usage:
    """Return a usage whose total is plausible, or no more than its parts or the ceiling.

    Some servers count hidden reasoning in the total alone. A total that no request could have and
    that its parts do not explain is nonsense, and would empty any account.
    """
    if usage.total <= PLAUSIBLE_TOKENS:
        return usage
    parts = usage.input + usage.output + second_total(usage.quantities)
    most = max(parts, ceiling.total)
    if usage.total <= most or not ceiling.total:
        return usage
    return replace(usage, total=most, estimated=True)


def with_drawn(usage: Usage, images: int, most: Estimate, ceiling: Usage, *, draws: bool) -> Usage:
    """Add images that were drawn and not reported, each as its ceiling has it.

    Args:
        usage: without them.
        images: how many there are.
        most: the ceiling of the request, by image.
        ceiling: what the request may use at most.
        draws: an image is an output of the request itself, and not one of a tool.

    """
    uses = () if most.calls is None else most.calls.uses
    of_tool = dict(next((use for use in uses if dict(use).get(_BY_TOOL)), ()))
    kind, parts, each = "output", ("output", "image_output"), most.output_cap
    if of_tool:
        kind, parts = _BY_TOOL, (_BY_TOOL, f"{_BY_TOOL[: -len('output')]}image_output")
        each = of_tool[_BY_TOOL]
    elif not draws:
        return usage
    more = min(images * each, max(ceiling.of(kind) - usage.of(kind), 0))
    if more <= 0:
        return usage
    quantities = {**usage.quantities, **{part: usage.of(part) + more for part in parts}}
    return replace(usage, quantities=quantities, total=usage.total + more, estimated=True)


_BY_TOOL: Final = "image_tool_output"


def _covers_its_bytes(usage: Usage, count: Counter) -> bool:
    """Whether a report without output plainly covers all texts: counting many long ones is slow."""
    if count.endpoint.family.has_output:
        return False
    return usage.input * _TOKEN_BYTES >= count.input_bound()


def _completed(usage: Usage, counted: Usage, document: Document) -> Usage:
    inputs, outputs = usage.input, usage.output
    if not inputs or (_has_several_inputs(document) and _lacks(inputs, counted.input)):
        inputs = max(inputs, counted.input)
    # An echo has the prompt in its text.
    if _lacks(outputs, counted.output) and document.get("echo") is not True:
        outputs = max(outputs, counted.output)
    if (inputs, outputs) == (usage.input, usage.output):
        return usage
    total = max(usage.total, inputs + outputs + second_total(usage.quantities))
    quantities = {**usage.quantities, "input": inputs, "output": outputs}
    return Usage(quantities, total, estimated=True)


def _lacks(reported: int, counted: int) -> bool:
    part, whole = _NEARLY
    return reported * whole < counted * part


def _has_several_inputs(document: Document) -> bool:
    return any(_has_several_texts(document.get(field)) for field in ("input", "prompt"))


def _has_several_texts(value: Json) -> bool:
    """Whether it is a list of texts or of lists of tokens; a single list of tokens is one text."""
    return isinstance(value, list) and len(value) > 1 and isinstance(value[0], (str, list))
