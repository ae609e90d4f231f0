"""People who can sign in on the pages, and their HTTP clients, which are browsers without eyes."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.users import create_user

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tokenbalance.database.connections import Sessions

PASSWORD = "correct horse battery"
_TOKEN = re.compile(r'name="form-token" value="([0-9a-f]{64})"')
NEW_KEY = {"scope-inference": "yes"}
"""The form of a new key as it comes, with nothing typed."""
_hashes: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Somebody:
    """A user who has a password."""

    user_id: int
    account_id: int
    email: str
    password: str = PASSWORD


class Pages(httpx2.AsyncClient):
    """A client that keeps cookies and fills forms in as a browser would."""

    token: str = ""
    """Of the last page that had a form."""

    async def see(self, path: str) -> httpx2.Response:
        """Open a page, which must be there, and note its forms' token."""
        response = await self.get(path)
        assert response.status_code == 200, (path, response.status_code)
        if found := _TOKEN.search(response.text):
            self.token = found.group(1)
        return response

    async def submit(self, path: str, **fields: str) -> httpx2.Response:
        """Send a form with the token of the last page."""
        return await self.post(path, data={"form-token": self.token, **fields})


class People:
    """Makes users, and signs them in."""

    def __init__(self, sessions: Sessions, product: str) -> None:
        self._sessions = sessions
        self._product = product
        self._number = 0

    async def create(
        self,
        *,
        name: str = "",
        balance: int = 0,
        is_superuser: bool = False,
        password: str = PASSWORD,
    ) -> Somebody:
        """Create a user with a password and a granted balance."""
        self._number += 1
        # Hashing takes a fifth of a second, and every test has somebody.
        if password not in _hashes:
            _hashes[password] = await hash_password(password)
        email = f"person{self._number}@example.com"
        async with self._sessions.begin() as session:
            user = await create_user(
                session,
                email=email,
                name=name,
                password_hash=_hashes[password],
                is_superuser=is_superuser,
            )
            if balance:
                await grant(session, user.account.id, balance, Cause("tests", "a first grant"))
        return Somebody(user.id, user.account.id, email, password)

    def pages(self, **options: Any) -> Pages:
        """Make a client that nobody knows."""
        return Pages(base_url=self._product, timeout=30, **options)

    @asynccontextmanager
    async def signed_in(self, somebody: Somebody) -> AsyncGenerator[Pages]:
        """Make a client that is signed in."""
        async with self.pages() as pages:
            await pages.see("/sign-in")
            response = await pages.submit(
                "/sign-in", email=somebody.email, password=somebody.password, next=""
            )
            assert (response.status_code, response.headers["location"]) == (303, "/"), response.text
            await pages.see("/account")
            yield pages
