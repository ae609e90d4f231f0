"""Renders a template as a page, with the headers of every page.

Templates are compiled once and escape all values; a missing value is an error. Pages load nothing
from other hosts and contain no inline scripts or styles.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from zoneinfo import ZoneInfo

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse

from tokenbalance.books.ledger.credits import NOTE_CHARS_MAX
from tokenbalance.people.access import sees_everything
from tokenbalance.people.emails import EMAIL_CHARS_MAX
from tokenbalance.people.key_fields import KEY_NAME_CHARS_MAX
from tokenbalance.people.limit_text import written
from tokenbalance.people.limits import NO_LIMITS
from tokenbalance.people.teams.teams import NAME_CHARS_MAX as TEAM_NAME_CHARS_MAX
from tokenbalance.people.users import NAME_CHARS_MAX
from tokenbalance.web.panel.assets import asset
from tokenbalance.web.panel.cookies import Cookie, clear_cookie, set_cookie
from tokenbalance.web.panel.limit_words import LIMIT_HINTS, LIMIT_WORDS, limit_name
from tokenbalance.web.panel.links import address
from tokenbalance.web.panel.notices import kept_notice

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.people.limits import KeyLimits
    from tokenbalance.web.panel.notices import Notice
    from tokenbalance.web.panel.visit import Visit

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Not `no-referrer`: browsers would send the Origin of a form as "null".
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


_SECOND_MS: Final = 1000
_LENGTHS: Final = {
    "email": EMAIL_CHARS_MAX,
    "name": NAME_CHARS_MAX,
    "key_name": KEY_NAME_CHARS_MAX,
    "note": NOTE_CHARS_MAX,
    "team_name": TEAM_NAME_CHARS_MAX,
}
"""Lengths in characters, for the fields of forms."""


def render(
    visit: Visit, template: str, *, status: int = HTTPStatus.OK, **values: object
) -> HTMLResponse:
    """Render a template as a page; `visit` is among its values."""
    page = _TEMPLATES.get_template(template).render(visit=visit, **values)
    response = HTMLResponse(page, status)
    if 'name="form-token"' in page and visit.new_form_secret:
        set_cookie(visit.request, response, Cookie.FORM, visit.new_form_secret)
    if visit.notice is not None:
        clear_cookie(visit.request, response, Cookie.NOTICE)
    return response


def go_to(
    path: str, visit: Visit, notice: Notice | None = None, keys: int | None = None
) -> RedirectResponse:
    """Redirect, so that reloading does not submit a form again; show the notice once.

    Args:
        path: where to.
        visit: the one that sent the form.
        notice: what was done.
        keys: how many keys the notice is about, if it says so.

    """
    response = RedirectResponse(path, HTTPStatus.SEE_OTHER)
    if notice is not None:
        set_cookie(visit.request, response, Cookie.NOTICE, kept_notice(notice, keys))
    return response


def secure(response: Response) -> Response:
    """Add the headers of every page to a response, except those it has."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _number(value: int) -> str:
    return f"{value:,}".replace("-", "\u2212")


def _signed(value: int) -> str:
    return f"{value:+,}".replace("-", "\u2212") if value else "0"


def _counted(value: int, noun: str) -> str:
    """A number with its noun."""
    return f"{_number(value)} {noun if abs(value) == 1 else noun + 's'}"


def _exact(value: str) -> str:
    """An exact decimal, or a fraction such as `5000/3`, with thousands separators."""
    whole, mark, rest = value.partition("/" if "/" in value else ".")
    return f"{_number(int(whole))}{mark}{rest}"


def _milliseconds(value: int) -> str:
    """A duration, in seconds from one second on."""
    return f"{value} ms" if value < _SECOND_MS else f"{value / _SECOND_MS:,.1f} s"


def _time(value: datetime | None, otherwise: str = "never") -> Markup | str:
    return _moment(value, "%Y-%m-%d %H:%M:%S UTC") if value else otherwise


def _minute(value: datetime | None, otherwise: str = "never") -> Markup | str:
    return _moment(value, "%Y-%m-%d %H:%M UTC") if value else otherwise


def _moment(value: datetime, form: str) -> Markup:
    moment = value.astimezone(UTC)
    iso = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}">{}</time>').format(iso, moment.strftime(form))


def _in_zone(value: datetime, zone: str) -> Markup:
    """A time in a time zone, which is named."""
    local = value.astimezone(ZoneInfo(zone))
    iso = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = f"{local:%Y-%m-%d %H:%M} {zone}"
    return Markup('<time datetime="{}">{}</time>').format(iso, shown)


def _limits_text(limits: KeyLimits) -> str:
    values = limits.values().items()
    return ", ".join(f"{name}={written(value)}" for name, value in values if value is not None)


def _day(value: date) -> Markup:
    return Markup('<time datetime="{0}">{0}</time>').format(value.isoformat())


def _name(value: str) -> Markup:
    """Text that people typed, isolated so that its writing direction affects nothing else."""
    return Markup("<bdi>{}</bdi>").format(value)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        cache_size=-1,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, object] = {
        "number": _number,
        "signed": _signed,
        "counted": _counted,
        "exact": _exact,
        "milliseconds": _milliseconds,
        "time": _time,
        "minute": _minute,
        "in_zone": _in_zone,
        "limits_text": _limits_text,
        "day": _day,
        "name": _name,
        "json": _json,
    }
    cast("dict[str, object]", environment.filters).update(filters)
    names: dict[str, object] = {
        "address": address,
        "asset": asset,
        "sees_everything": sees_everything,
        "lengths": _LENGTHS,
        "limit_hints": LIMIT_HINTS,
        "limit_name": limit_name,
        "limit_words": LIMIT_WORDS,
        "no_limits": NO_LIMITS,
    }
    cast("dict[str, object]", environment.globals).update(names)
    return environment


_TEMPLATES: Final = _templates()
