"""One turn of one client: its home, its environment, its command, and what became of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.clients.children import Ended, clean_environment, run

if TYPE_CHECKING:
    from tests.clients.catalogue import Turn
    from tests.clients.installation import Installed

LIMIT_S: Final = 120.0


def take(turn: Turn, installed: Installed, url: str, key: str, elsewhere: str) -> Ended:
    """Let a client ask, in a home that is thrown away.

    Args:
        turn: how.
        installed: where the client lies.
        url: what it is to take for OpenAI, with `/v1`.
        key: its API key.
        elsewhere: the URL of the proxy for all other hosts.

    """
    with tempfile.TemporaryDirectory(prefix="tokenbalance-client-") as name:
        home = Path(name)
        facts = {
            "bin": str(installed.commands),
            "python": str(installed.commands / "python"),
            "programs": str(installed.programs),
            "url": url,
            "key": key,
        }
        for path, text in turn.files.items():
            file = home / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.format(**facts), "utf-8")
        environment = clean_environment(home, elsewhere) | {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": key,
            **{name: value.format(**facts) for name, value in turn.environment.items()},
        }
        folder = home / "work"
        folder.mkdir()
        return run([word.format(**facts) for word in turn.words], environment, folder, LIMIT_S)
