"""After the answer: can the usage that was reported be all of it?

OpenAI's can. Other servers report nothing for the input or for the output, or the usage of one
choice or prompt where there were several. What they leave out is counted, and the charge flagged.
(Zeros alone, and a total below its parts, are no report to begin with: `outcome`, `usage`.)

Pure: no I/O, no clock. It must never lower what was reported, nor raise what OpenAI reports: counts
of its vocabularies are never above its own, and those of others not by much.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from tokenbalance.openai.operation import Metering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.model import Document, Json, Usage
    from tokenbalance.openai.operation import Operation

_TOKEN_BYTES: Final = 5
"""Of an input that is shorter in tokens than its bytes by this, something may be missing. English
is at 4.5; longer words are counted in vain."""
_NEARLY: Final = 7, 8
"""The part of a count that a report must reach: other vocabularies need fewer tokens than ours."""


class Counter(Protocol):
    """Counts what one request has used."""

    @property
    def endpoint(self) -> Operation:
        """Its endpoint."""
        ...

    @property
    def document(self) -> Document:
        """Its body."""
        ...

    def input_bound(self) -> int:
        """The most tokens that its input may be, without counting them."""
        ...

    def __call__(self, *texts: str) -> Usage:
        """Count its input, and a text for each choice; a matter of CPU time."""
        ...


def has_several_choices(document: Document) -> bool:
    """Whether a request asks for more than one choice."""
    choices = document.get("n")
    return (isinstance(choices, int) and choices > 1) or _has_several_texts(document.get("prompt"))


def is_doubtful(usage: Usage, endpoint: Operation, document: Document) -> bool:
    """Whether a report might lack something, as far as it tells without counting."""
    if not usage.total:
        return False
    if endpoint.metering is Metering.EMBEDDINGS:
        return not usage.input or _has_several_texts(document.get("input"))
    return not (usage.input and usage.output) or has_several_choices(document)


def reckoned(usage: Usage | None, texts: Sequence[str], count: Counter, ceiling: Usage) -> Usage:
    """What a request has used: as reported, and counted where that is missing.

    What is counted is never more than the ceiling, which the upstream was told. It is a matter of
    CPU time.
    """
    if usage is None:
        return _within(ceiling, count(*texts))
    if not is_doubtful(usage, count.endpoint, count.document) or _covers_its_bytes(usage, count):
        return usage
    return _completed(usage, _within(ceiling, count(*texts)), count.document)


def _within(ceiling: Usage, counted: Usage) -> Usage:
    inputs, outputs = min(counted.input, ceiling.input), min(counted.output, ceiling.output)
    return replace(counted, input=inputs, output=outputs, total=inputs + outputs)


def _covers_its_bytes(usage: Usage, count: Counter) -> bool:
    """Whether the texts of embeddings are plainly all counted, which are many and long."""
    if count.endpoint.metering is not Metering.EMBEDDINGS:
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
    total = max(usage.total, inputs + outputs)
    return replace(usage, input=inputs, output=outputs, total=total, estimated=True)


def _lacks(reported: int, counted: int) -> bool:
    part, whole = _NEARLY
    return reported * whole < counted * part


def _has_several_inputs(document: Document) -> bool:
    return any(_has_several_texts(document.get(field)) for field in ("input", "prompt"))


def _has_several_texts(value: Json) -> bool:
    """Whether it is a list of texts, or of lists of tokens; a list of tokens is one text."""
    return isinstance(value, list) and len(value) > 1 and isinstance(value[0], (str, list))
