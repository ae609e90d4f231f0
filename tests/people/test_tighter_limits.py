"""What a key gives to the keys made with it, and what a superuser leaves to an owner."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase

import pytest

from tokenbalance.people.bounded_limits import BoundedLimits, new_limits
from tokenbalance.people.limits import InvalidLimit, KeyLimits
from tokenbalance.people.tighter_limits import narrowed, tighter
from tokenbalance.proxy.limits.rules import allows_model

NAMES = ("o3", "gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-nano", "gpt-5-pro")
MAKERS = (
    ("!gpt-5*", "gpt-*"),
    ("gpt-5-nano", "!gpt-5*", "*"),
    ("!gpt-5-pro", "gpt-5*", "!gpt-4o", "gpt-*"),
    ("*",),
)
WANTED = (
    *MAKERS,
    ("gpt-4o*",),
    ("gpt-5-nano",),
    ("gpt-5-nano", "gpt-4o-mini"),
    ("!o3", "gpt-5*"),
    ("gpt-*", "o3"),
)


def allowed(patterns: tuple[str, ...]) -> set[str]:
    """Which names the first pattern that matches allows."""
    found = set[str]()
    for name in NAMES:
        first = next((one for one in patterns if fnmatchcase(name, one.removeprefix("!"))), "!")
        if not first.startswith("!"):
            found.add(name)
    return found


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("wanted", WANTED)
def test_no_model_is_given_that_the_maker_forbids(
    wanted: tuple[str, ...], maker: tuple[str, ...]
) -> None:
    try:
        given = tighter(KeyLimits(models=wanted), KeyLimits(models=maker)).models
    except InvalidLimit:
        # Something that is wanted is not obviously allowed.
        assert wanted != maker
        return
    assert given is not None
    assert allowed(given) <= allowed(maker) & allowed(wanted)
    assert tighter(KeyLimits(models=given), KeyLimits(models=maker)).models == given
    if wanted == maker:
        assert given == maker


def test_what_the_maker_forbids_is_kept_before_what_it_would_match() -> None:
    maker = KeyLimits(models=("gpt-5-nano", "!gpt-5*", "gpt-*"))
    assert tighter(KeyLimits(models=("gpt-5-nano", "gpt-*")), maker).models == (
        "gpt-5-nano",
        "!gpt-5*",
        "gpt-*",
    )
    assert tighter(KeyLimits(models=("gpt-4o",)), maker).models == ("gpt-4o",)
    with pytest.raises(InvalidLimit, match="'gpt-5' is not among the models"):
        tighter(KeyLimits(models=("gpt-5",)), maker)


@pytest.mark.parametrize(
    ("maker", "wanted", "asked"),
    [
        (("!GPT-5-Pro", "*"), ("gpt-5-pro",), "gpt-5-pro"),
        (("!gpt-5-pro", "*"), ("openai/gpt-5-pro",), "openai/gpt-5-pro"),
        (("!gpt-5-pro", "*"), ("ft:gpt-5-pro:us::1",), "ft:gpt-5-pro:us::1"),
        (("!openai/*", "*"), ("gpt-5-pro",), "openai/gpt-5-pro"),
        (("!ft:*", "*"), ("gpt-5-pro",), "ft:gpt-5-pro:us::1"),
        (("!azure/ft:*", "*"), ("GPT-5-pro",), "azure/ft:gpt-5-pro:us::1"),
        (("!*::1", "*"), ("gpt-5-pro",), "ft:gpt-5-pro:us::1"),
    ],
)
def test_no_other_name_of_a_model_gives_what_the_maker_forbids(
    maker: tuple[str, ...], wanted: tuple[str, ...], asked: str
) -> None:
    assert not allows_model(maker, asked)
    assert allows_model(wanted, asked)
    with suppress(InvalidLimit):
        given = tighter(KeyLimits(models=wanted), KeyLimits(models=maker)).models
        assert given is not None
        assert not allows_model(given, asked)


@pytest.mark.parametrize(
    ("name", "maker", "within", "beyond"),
    [
        ("endpoints", ("chat", "files"), ("files",), ("images",)),
        ("service_tiers", ("default",), ("default",), ("flex",)),
        ("tools", ("web_search",), (), ("mcp",)),
        (
            "addresses",
            ("192.0.2.0/24", "::/0"),
            ("192.0.2.8/29", "2001:db8::/32"),
            ("192.0.0.0/8",),
        ),
    ],
)
def test_a_list_is_within_the_makers_or_refused_by_name(
    name: str, maker: tuple[str, ...], within: tuple[str, ...], beyond: tuple[str, ...]
) -> None:
    most = KeyLimits.stored({name: list(maker)})
    wanted = KeyLimits.stored({name: list(within)})
    assert tighter(wanted, most) == wanted
    assert tighter(KeyLimits(), most) == most
    assert tighter(wanted, KeyLimits()) == wanted
    with pytest.raises(InvalidLimit, match=f"^{name}: ") as refused:
        tighter(KeyLimits.stored({name: list(beyond)}), most)
    assert refused.value.field == name


@pytest.mark.parametrize(
    ("name", "own", "theirs", "left"),
    [
        ("endpoints", ("chat", "files"), ("files", "images"), ("files",)),
        ("tools", ("web_search",), ("mcp",), ()),
        ("addresses", ("192.0.2.0/24", "::/0"), ("192.0.0.0/8",), ("192.0.2.0/24",)),
        ("addresses", ("192.0.0.0/8",), ("192.0.2.0/24",), ("192.0.2.0/24",)),
        ("models", ("gpt-*",), ("gpt-4o",), ("gpt-4o",)),
        ("models", ("gpt-4o", "o3"), ("gpt-*",), ("gpt-4o",)),
        ("models", ("gpt-*",), ("!gpt-5*", "*"), ("!gpt-5*", "gpt-*")),
        ("endpoints", ("chat",), ("files",), None),
        ("models", ("o3",), ("gpt-*",), None),
        ("addresses", ("192.0.2.0/24",), ("10.0.0.0/8",), None),
    ],
)
def test_a_key_follows_its_maker_as_far_as_something_is_left(
    name: str, own: tuple[str, ...], theirs: tuple[str, ...], left: tuple[str, ...] | None
) -> None:
    limits, most = KeyLimits.stored({name: list(own)}), KeyLimits.stored({name: list(theirs)})
    if left is None:
        with pytest.raises(InvalidLimit, match=f"^{name}: "):
            narrowed(limits, most)
        return
    assert narrowed(limits, most) == KeyLimits.stored({name: list(left)})
    assert narrowed(KeyLimits(), most) == most


def test_an_owner_stays_within_what_a_superuser_has_set_and_a_superuser_does_not() -> None:
    defaults = KeyLimits(credits_per_day=10, models=("gpt-*",))
    own = new_limits({"credits_per_day": 5, "tokens_per_day": 7}, defaults, by_superuser=False)
    assert own.limits == KeyLimits(credits_per_day=5, tokens_per_day=7, models=("gpt-*",))
    assert own.bounds == defaults
    with pytest.raises(InvalidLimit, match=r"^credits_per_day: must be at most 10"):
        own.changed({"credits_per_day": 11}, by_superuser=False)
    back = own.changed({"credits_per_day": None, "tokens_per_day": None}, by_superuser=False)
    assert back.limits == defaults
    lifted = own.changed({"models": None, "credits_per_day": 11}, by_superuser=True)
    assert (lifted.limits.models, lifted.limits.credits_per_day) == (None, 11)
    assert lifted.changed({"credits_per_day": None}, by_superuser=False).limits == lifted.limits
    assert BoundedLimits.stored(lifted.as_document()) == lifted
