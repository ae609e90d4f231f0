"""Examples of graders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from tokenbalance.model import Document

_GRADER: Final[Document] = {
    "type": "string_check",
    "name": "exact",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}

VALIDATED_GRADER: Final = Examples({"A comparison": {"grader": _GRADER}}, {"grader": _GRADER})
