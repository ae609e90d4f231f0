"""What rules let pass: patterns of models, and networks."""

from __future__ import annotations

import pytest

from tokenbalance.errors import IpNotAllowed
from tokenbalance.model import Policy, Rules
from tokenbalance.openai import OPERATIONS
from tokenbalance.proxy.limits.durations import shown_duration
from tokenbalance.proxy.limits.rules import allows_model, check_address


@pytest.mark.parametrize(
    ("patterns", "allowed", "refused"),
    [
        (("gpt-4o-mini*",), ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), ("gpt-4o", "o3")),
        (("!gpt-4o-mini", "gpt-4o*"), ("gpt-4o", "gpt-4o-mini-x"), ("gpt-4o-mini", "o3")),
        (("gpt-4o*", "!gpt-4o-mini"), ("gpt-4o", "gpt-4o-mini"), ("o3",)),
        (("!o3*",), ("gpt-4o",), ("o3", "o3-pro")),
        (("gpt-[45]*",), ("gpt-4o", "gpt-5"), ("gpt-3.5-turbo",)),
        (("gpt-4o*",), ("ft:gpt-4o:us::1", "openai/gpt-4o", "GPT-4o"), ("ft:o3:us::1",)),
        (("!gpt-4o*", "*"), ("o3",), ("ft:gpt-4o:us::1", "azure/gpt-4o", "GPT-4O")),
        (("!ft:*", "*"), ("gpt-4o",), ("ft:gpt-4o:us::1",)),
        ((), ("gpt-4o",), ()),
    ],
)
def test_the_first_pattern_that_matches_decides(
    patterns: tuple[str, ...], allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    assert [name for name in allowed if not allows_model(patterns, name)] == []
    assert [name for name in refused if allows_model(patterns, name)] == []


@pytest.mark.parametrize(
    ("networks", "allowed", "refused"),
    [
        (("10.0.0.0/8",), ("10.1.2.3", "::ffff:10.1.2.3"), ("11.0.0.1", "::1", "", "unknown")),
        (("::ffff:10.0.0.0/104",), ("10.1.2.3", "::ffff:10.1.2.3"), ("11.0.0.1",)),
        (("192.0.2.7", "2001:db8::/32"), ("192.0.2.7", "2001:db8:1::2"), ("192.0.2.8", "::1")),
        (("0.0.0.0/0",), ("192.0.2.7",), ("2001:db8::1",)),
        ((), (), ("127.0.0.1",)),
    ],
)
def test_an_address_must_be_in_one_of_the_networks(
    networks: tuple[str, ...], allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    policy = Policy(1, ("key:1",), (Rules("key:1", addresses=networks),))
    for address in allowed:
        check_address(policy, address)
    for address in refused:
        with pytest.raises(IpNotAllowed):
            check_address(policy, address)


def test_operations_are_grouped_by_the_first_segment_of_their_paths() -> None:
    assert {one.group for one in OPERATIONS} == {
        "audio", "chat", "completions", "containers", "content_provenance_checks", "conversations",
        "decisions", "embeddings", "files", "graders", "images", "models", "moderations",
        "responses", "skills", "vector_stores",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0, "0s"),
        (12, "12ms"),
        (1000, "1s"),
        (4800, "4.8s"),
        (59_999, "59.999s"),
        (360_000, "6m0s"),
        (61_001, "1m2s"),
        (86_400_000, "24h0m0s"),
    ],
)
def test_times_are_written_as_openai_writes_them(milliseconds: int, shown: str) -> None:
    assert shown_duration(milliseconds) == shown
