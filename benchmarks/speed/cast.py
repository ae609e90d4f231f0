"""The subjects of a run: each is started when first needed, and all are ended with the run."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from benchmarks.compare.builds import Build
from benchmarks.speed import gateways, product, proxies, tensorzero
from benchmarks.speed.programs import NotStarted
from benchmarks.speed.subjects import Place, Subject, Unavailable
from benchmarks.verdict import say

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType


STARTERS: Final[Mapping[str, Callable[[Place], AbstractAsyncContextManager[Subject]]]] = {
    "direct": proxies.reach_directly,
    "nginx": proxies.start_nginx,
    product.NAME: product.serve,
    product.TWO_WORKERS: product.serve_with_two_workers,
    product.BASE: product.serve_base,
    tensorzero.TENSORZERO: tensorzero.start_tensorzero,
    gateways.PORTKEY: gateways.start_portkey,
    gateways.OPENAI_FORWARD: gateways.start_openai_forward,
    gateways.LM_PROXY: gateways.start_lm_proxy,
    gateways.LITELLM: gateways.start_litellm,
}
"""In the order in which they appear in the table."""


class Cast:
    """Who takes part."""

    def __init__(self, names: Sequence[str], place: Place) -> None:
        """Let some take part.

        Args:
            names: their names.
            place: what each gets; its folder is the one around theirs.

        """
        self._names = names
        self._place = place
        self._stack = AsyncExitStack()
        self._started: dict[str, Subject | None] = {}
        self.skipped: dict[str, str] = {}
        """Who cannot take part, and why."""

    def among(self, names: frozenset[str]) -> list[str]:
        """Return the names of those that take part, except those that could not be started."""
        able = names & {*self._names} - {*self.skipped}
        return [name for name in STARTERS if name in able]

    async def of(self, names: frozenset[str]) -> list[Subject]:
        """Give those of them that take part and can be started."""
        subjects = [await self._get(name) for name in self.among(names)]
        return [subject for subject in subjects if subject is not None]

    @asynccontextmanager
    async def anew(self, name: str) -> AsyncGenerator[Subject]:
        """Start another one of the kind that already runs; it is ended on leaving.

        Raises:
            Unavailable, NotStarted: it cannot be started.

        """
        place = replace(self._place, folder=self.new_folder(name))
        async with STARTERS[name](place) as subject:
            yield subject

    @property
    def python(self) -> str:
        """The interpreter for which the product is installed."""
        return self._place.python

    def build_of(self, name: str) -> Build:
        """Return the build that a name stands for."""
        base = self._place.base if name == product.BASE else None
        return Build(name, base or self._place.python)

    def new_folder(self, name: str) -> Path:
        """Make a folder for one that is about to be started."""
        number = len([*self._place.folder.iterdir()])
        folder = self._place.folder / f"{name.replace(', ', '-').replace(' ', '-')}-{number}"
        folder.mkdir(parents=True)
        return folder

    async def _get(self, name: str) -> Subject | None:
        if name not in self._started:
            say(f"starting {name}")
            try:
                subject = await self._stack.enter_async_context(self.anew(name))
            except (Unavailable, NotStarted) as error:
                subject = None
                self.skipped[name] = str(error)
                say(f"{name} is skipped: {error}")
            self._started[name] = subject
        return self._started[name]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _ = await self._stack.__aexit__(kind, error, traceback)
