"""Times as OpenAI writes them in headers and messages: `12ms`, `4.8s`, `6m0s`."""

from __future__ import annotations

from typing import Final

_SECOND_MS: Final = 1000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def shown_duration(milliseconds: int) -> str:
    """Write a time; fractions of a second only below a minute."""
    if milliseconds < _SECOND_MS:
        return f"{milliseconds}ms" if milliseconds else "0s"
    if milliseconds < _MINUTE_S * _SECOND_MS:
        return f"{milliseconds / _SECOND_MS:.3f}".rstrip("0").rstrip(".") + "s"
    seconds = -(-milliseconds // _SECOND_MS)
    minutes, seconds = divmod(seconds, _MINUTE_S)
    if minutes < _MINUTE_S:
        return f"{minutes}m{seconds}s"
    hours, minutes = divmod(minutes, _MINUTE_S)
    return f"{hours}h{minutes}m{seconds}s"
