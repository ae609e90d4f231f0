"""What became of each of the SDK's tests, directly and through the product, and why they differ."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CLOSED: Final = re.compile(r"OpenAI has this, but (?P<reason>[^.]+)\.")
_EXPECTED: Final[Mapping[str, str]] = {
    r"has a fee, and the rate card has none": "it has a fee, and there is no rate card",
    r"'prompt' is not supported": "stored prompts are closed, as a field",
    r"(?s)must be a form.*test_versions\.py": (
        "OpenAI takes a form here, which the SDK sends only with files; the sandbox takes JSON too"
    ),
    r"integer below minimum value": "OpenAI refuses this value as well; the mock server does not",
    r"(?s)Missing required parameter.*test_(?:responses|input_tokens)\.py": (
        "OpenAI requires this parameter as well; the mock server does not"
    ),
    r"(?s)Missing required parameter: 'model'.*test_images\.py": (
        "OpenAI asks that a model is named, and does not say which one it takes otherwise"
    ),
}
"""What refusals say that are meant to be, and why they are."""
_RESOURCE: Final = re.compile(r"tests\.api_resources\.(?P<path>.+)\.\w+$")
_SAID_MAX: Final = 160


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one test."""

    passed: bool
    said: str
    """The message of its failure."""

    @property
    def expected(self) -> str | None:
        """Why it is meant to fail, as a closed row or a refusal; None: it is not."""
        found = _CLOSED.search(self.said)
        if found is not None:
            return found["reason"]
        return next((why for says, why in _EXPECTED.items() if re.search(says, self.said)), None)


@dataclass(frozen=True, slots=True)
class Difference:
    """Tests of one resource that pass directly, and not through the product, for one reason."""

    resource: str
    reason: str
    is_expected: bool
    tests: int
    example: str
    """The name of one of them."""


def outcomes(report: Path) -> dict[str, Outcome]:
    """Read a JUnit report; skipped tests are left out."""
    found: dict[str, Outcome] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by our pytest
        if case.find("skipped") is None:
            failure = case.find("failure")
            failure = case.find("error") if failure is None else failure
            said = "" if failure is None else f"{failure.get('message')}\n{failure.text}"
            name = f"{case.get('classname')}.{case.get('name')}"
            found[name] = Outcome(failure is None, said)
    return found


def differences(
    direct: Mapping[str, Outcome], through: Mapping[str, Outcome]
) -> Iterator[Difference]:
    """Group what passes directly only, the most tests first."""
    counted: Counter[tuple[str, str, bool]] = Counter()
    examples: dict[tuple[str, str, bool], str] = {}
    for name, outcome in direct.items():
        other = through.get(name)
        if outcome.passed and (other is None or not other.passed):
            key = (_resource(name), *_why(other))
            counted[key] += 1
            _ = examples.setdefault(key, name)
    for (resource, reason, is_expected), tests in counted.most_common():
        example = examples[resource, reason, is_expected]
        yield Difference(resource, reason, is_expected, tests, example)


def _why(outcome: Outcome | None) -> tuple[str, bool]:
    if outcome is None:
        return "it did not run", False
    if outcome.expected is not None:
        return outcome.expected, True
    lines = [line.strip() for line in outcome.said.splitlines() if line.strip()]
    return (lines or ["?"])[0][:_SAID_MAX], False


def _resource(name: str) -> str:
    found = _RESOURCE.match(name.partition("[")[0].rpartition(".")[0])
    path = found["path"] if found else name
    return path.replace("test_", "").replace(".", "/")
