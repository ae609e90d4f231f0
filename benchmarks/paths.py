"""Every page and every list of the product, by path, and who looks at it.

`{...}` stands for what it is in the books at hand: an id, an e-mail, or a cursor in the middle of a
list (`after={entries}`). No page is longer than the small books can fill, and files are not among
them: those take as long as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.books import Who
from tokenbalance.database.tables import ENTRY_KINDS, HOLD_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MONTH: Final = "since={month_ago}"
_GROUPS: Final = ("day", "model", "key", "day,model", "day,model,key")
_QUOTED: Final = {
    "path": "/v1/chat/completions",
    "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]},
}


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the product."""

    who: Who
    template: str
    """The path, with names that stand for what is in the books."""
    document: object = None
    """What is posted there; None for a GET."""

    @property
    def name(self) -> str:
        """Its own, whatever the books."""
        return f"{self.who}: {self.template}"

    def path(self, names: Mapping[Who, Mapping[str, str]]) -> str:
        """Its path in certain books."""
        return self.template.format_map(names[self.who])


def looks() -> list[Look]:
    """List every look."""
    found = [Look(Who.SUPERUSER, template) for template in (*_MANAGED, *_ADMIN)]
    for who in (Who.HEAVY, Who.LIGHT):
        found += [Look(who, template) for template in (*_OWN, *_ACCOUNT)]
        found.append(Look(who, "/api/quote", _QUOTED))
    return found


def _lists(of: str) -> Sequence[str]:
    """Name the lists that belong to an account."""
    return (
        f"/api/keys?{of}",
        f"/api/ledger?{of}",
        f"/api/ledger?{of}order=newest",
        f"/api/ledger?{of}after={{own_entries}}",
        f"/api/ledger?{of}order=newest&after={{own_entries}}&limit=500",
        f"/api/ledger?{of}{_MONTH}",
        *(f"/api/usage?{of}group_by={groups}" for groups in _GROUPS),
        *(f"/api/usage?{of}group_by={groups}&{_MONTH}" for groups in _GROUPS),
        f"/api/requests?{of}",
        f"/api/requests?{of}after={{own_requests}}",
        f"/api/requests?{of}{_MONTH}&limit=400",
        *(f"/api/requests?{of}state={state}" for state in HOLD_STATES),
        f"/api/requests?{of}model=gpt-4o-audio-preview",
        f"/api/requests?{of}model=nobody-uses-it",
        f"/api/requests?{of}key_id={{key_id}}",
        "/api/requests/{request_id}",
    )


_OWN: Final = ("/api/user/me", "/api/balance", *_lists(""))
_MANAGED: Final = (
    "/api/users",
    "/api/users?after={users}",
    "/api/users?search=seeded",
    "/api/users?search=user77",
    "/api/users?search={email}",
    "/api/users?search=nobody-has-it",
    "/api/balance/{id}",
    *_lists("user_id={id}&"),
    *(
        f"/api/usage?group_by={groups}"
        for groups in ("user", "user,day", "user,model", "user,key", "user,day,model,key")
    ),
    f"/api/usage?group_by=user&{_MONTH}",
    f"/api/usage?group_by=user,day&{_MONTH}",
    "/api/usage?group_by=user&after={accounts}",
)
_ACCOUNT: Final = (
    "/account",
    "/account/keys",
    "/account/requests",
    "/account/requests?after={own_requests}",
    *(f"/account/requests?state={state}" for state in HOLD_STATES),
    "/account/requests?model=gpt-4o-audio-preview",
    "/account/requests?days=30",
    "/account/requests/{request_id}",
    "/account/ledger",
    "/account/ledger?after={own_entries}",
    "/account/profile",
)
_ADMIN: Final = (
    "/admin",
    "/admin/users",
    "/admin/users?after={users}",
    "/admin/users?search=seeded",
    "/admin/users?search=user77",
    "/admin/users?search={email}",
    "/admin/users?search=nobody-has-it",
    "/admin/users/{id}",
    "/admin/keys",
    "/admin/keys?after={keys}",
    "/admin/keys?search=laptop",
    "/admin/keys?search={email}",
    "/admin/keys?search=nobody-has-it",
    *(f"/admin/keys?state={state}" for state in ("active", "expired", "revoked")),
    "/admin/ledger",
    "/admin/ledger?after={entries}",
    *(f"/admin/ledger?kind={kind}" for kind in ENTRY_KINDS),
    "/admin/ledger?since={month_ago}&until={week_ago}",
    "/admin/ledger?user={email}",
    "/admin/ledger?user={email}&after={own_entries}",
    *(f"/admin/ledger?user={{email}}&kind={kind}" for kind in ENTRY_KINDS),
    "/admin/requests",
    "/admin/requests?after={requests}",
    *(f"/admin/requests?state={state}" for state in HOLD_STATES),
    "/admin/requests?model=gpt-4o-audio-preview",
    "/admin/requests?model=nobody-uses-it",
    "/admin/requests?only=estimated",
    "/admin/requests?only=overrun",
    "/admin/requests?since={month_ago}&until={week_ago}",
    "/admin/requests?user={email}",
    "/admin/requests?user={email}&state=expired",
    "/admin/requests?user={email}&only=overrun",
    "/admin/requests?user={email}&model=gpt-4o-audio-preview",
    "/admin/requests/{request_id}",
    "/admin/rates",
    "/admin/books",
)
