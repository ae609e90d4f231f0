"""What the data between the stages promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def test_a_usage_has_only_the_quantities_that_were_used() -> None:
    usage = Usage({"input": 3, "cached_input": 0, "output": 0}, total=3)
    assert dict(usage.quantities) == {"input": 3}
    assert (usage.input, usage.output, usage.of("cached_input")) == (3, 0, 0)


def test_usages_are_equal_by_value_and_as_keys() -> None:
    usage = Usage({"input": 3, "output": 4}, total=7)
    assert usage == Usage({"output": 4, "input": 3, "reasoning": 0}, total=7)
    assert len({usage, Usage({"output": 4, "input": 3}, total=7)}) == 1
    assert usage != Usage({"input": 3, "output": 5}, total=7)
    assert usage != Usage({"input": 3, "output": 4}, total=7, estimated=True)


def test_the_quantities_of_a_usage_cannot_be_changed() -> None:
    given = {"input": 3}
    usage = Usage(given, total=3)
    given["input"] = 4
    with pytest.raises(TypeError):
        cast("MutableMapping[str, int]", usage.quantities)["input"] = 5
    assert usage.input == 3


def test_a_counted_usage_is_an_estimate_whose_total_is_its_sum() -> None:
    assert Usage.counted(3, 4) == Usage({"input": 3, "output": 4}, total=7, estimated=True)
