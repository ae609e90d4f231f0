"""What a `User-Agent` says in a few words, by which people recognise their own devices."""

from __future__ import annotations

from typing import Final

AGENT_CHARS_MAX: Final = 60

# The first that is found counts: browsers name those that they descend from as well.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def describe_agent(user_agent: str) -> str:
    """Return program and system, such as `Firefox on Linux`; another program's own name.

    Args:
        user_agent: the header; any text.

    """
    if "Mozilla/" not in user_agent:
        name = user_agent.strip().partition(" ")[0][:AGENT_CHARS_MAX]
        return name if name.isprintable() else ""
    browser = _first_of(_BROWSERS, user_agent) or "Browser"
    system = _first_of(_SYSTEMS, user_agent)
    return f"{browser} on {system}" if system else browser


def _first_of(marks: tuple[tuple[str, str], ...], user_agent: str) -> str:
    return next((name for mark, name in marks if mark in user_agent), "")
