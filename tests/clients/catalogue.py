"""The clients: their pinned packages, and how each gets its base URL and its request.

All of it is data. In words, files and environment `{bin}`, `{python}`, `{programs}`, `{url}`
and `{key}` are filled in when a turn is made. A turn here is a command that ends by
itself, asks "hello" and prints the output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Source(Enum):
    """Where a client comes from."""

    NPM = "npm"
    PYPI = "pip"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Turn:
    """One way of asking.

    Args:
        name: what is tried, in a few words.
        words: the command.
        environment: in addition to `OPENAI_BASE_URL` and `OPENAI_API_KEY`, which every client gets.
        files: what has to lie in the client's home, by path.
        says: what the output has to contain.
        never_says: what it must not contain.

    """

    name: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    says: str = "tokenbalance sandbox"
    never_says: tuple[str, ...] = ("Reconnecting", "Traceback")


@dataclass(frozen=True, slots=True)
class Client:
    """What is installed together, and its turns; the first is the one that meets refusals.

    Args:
        name: as it is called on the command line.
        source: who installs it.
        packages: with versions; the first is the client itself.
        turns: what it is made to do.

    """

    name: str
    source: Source
    packages: tuple[str, ...]
    turns: tuple[Turn, ...]

    @property
    def version(self) -> str:
        """Of the client itself; empty for what the system brings along."""
        return self.packages[0].rpartition("@")[2].rpartition("==")[2] if self.packages else ""


def _python(program: str, *ways: str, **environment: str) -> tuple[Turn, ...]:
    words = ("{python}", "{programs}/" + program)
    return tuple(Turn(way, (*words, way), environment) for way in ways)


def _node(program: str, *ways: str) -> tuple[Turn, ...]:
    return tuple(Turn(way, ("node", "{programs}/" + program, way)) for way in ways)


# Plugins, because Codex fetches their catalogue from elsewhere before it asks anything.
_CODEX_QUIET: Final = """\
check_for_update_on_startup = false

[analytics]
enabled = false

[features]
plugins = false
"""
CODEX_CUSTOM: Final = (
    """\
model_provider = "tokenbalance"
"""
    + _CODEX_QUIET
    + """
[model_providers.tokenbalance]
name = "tokenbalance"
base_url = "{url}"
env_key = "TOKENBALANCE_KEY"
wire_api = "responses"
"""
)
CODEX_BUILT_IN: Final = 'openai_base_url = "{url}"\n' + _CODEX_QUIET
# Not the default model, which the client may choose anew with every release.
_CODEX: Final = ("{bin}/codex", "exec", "--skip-git-repo-check", "--model")


def _codex(name: str, model: str, config: str, **environment: str) -> Turn:
    words = (*_CODEX, model, "hello")
    return Turn(name, words, environment, {".codex/config.toml": config})


_QUESTION: Final = '[{{"role": "user", "content": "hello"}}]'
_CURL_BODY: Final = '{{"model": "gpt-4o-mini", "messages": ' + _QUESTION + "}}"

CLIENTS: Final = (
    Client(
        "codex",
        Source.NPM,
        ("@openai/codex@0.171.0",),
        (
            _codex("custom provider, gpt-5", "gpt-5", CODEX_CUSTOM, TOKENBALANCE_KEY="{key}"),
            _codex(
                "custom provider, gpt-6.2-sol",
                "gpt-6.2-sol",
                CODEX_CUSTOM,
                TOKENBALANCE_KEY="{key}",
            ),
            _codex("openai_base_url, gpt-5", "gpt-5", CODEX_BUILT_IN, CODEX_API_KEY="{key}"),
            _codex(
                "openai_base_url, gpt-6.2-sol", "gpt-6.2-sol", CODEX_BUILT_IN, CODEX_API_KEY="{key}"
            ),
        ),
    ),
    Client(
        "ai",
        Source.NPM,
        ("ai@7.0.173", "@ai-sdk/openai@4.0.118"),
        _node("ai_turn.mjs", "generate", "stream", "chat-generate", "chat-stream", "two-turns"),
    ),
    Client(
        "openai-node",
        Source.NPM,
        ("openai@7.59.0",),
        _node("openai_turn.mjs", "chat", "chat-stream", "responses", "responses-stream"),
    ),
    Client(
        "openai-python",
        Source.PYPI,
        ("openai==3.57.0",),
        _python("openai_turn.py", "chat", "chat-stream", "responses", "responses-stream"),
    ),
    Client(
        "openai-agents",
        Source.PYPI,
        ("openai-agents==0.24.0", "openai==3.57.0"),
        _python(
            "agents_turn.py",
            "responses",
            "responses-stream",
            "chat",
            OPENAI_AGENTS_DISABLE_TRACING="1",
        ),
    ),
    Client(
        "langchain-openai",
        Source.PYPI,
        ("langchain-openai==1.7.4", "langchain-core==1.8.3", "openai==3.57.0"),
        (
            *_python("langchain_turn.py", "chat", "chat-stream", "responses", "two-turns"),
            Turn(
                "embeddings",
                ("{python}", "{programs}/langchain_turn.py", "embeddings"),
                says="2 vectors",
            ),
        ),
    ),
    Client(
        "llm",
        Source.PYPI,
        ("llm==0.36", "openai==3.57.0"),
        (
            Turn("chat model, streamed", ("{bin}/llm", "-m", "gpt-4o-mini", "hello")),
            Turn(
                "chat model, --no-stream",
                ("{bin}/llm", "-m", "gpt-4o-mini", "--no-stream", "hello"),
            ),
            Turn("responses model", ("{bin}/llm", "-m", "gpt-5.6-luna", "hello")),
            Turn("legacy completion", ("{bin}/llm", "-m", "gpt-3.5-turbo-instruct", "hello")),
        ),
    ),
    Client(
        "aider",
        Source.PYPI,
        ("aider-chat==0.86.2",),
        (
            Turn(
                "--message",
                (
                    "{bin}/aider",
                    "--model=openai/gpt-4o-mini",
                    "--no-git",
                    "--yes-always",
                    "--no-show-model-warnings",
                    "--no-show-release-notes",
                    "--no-check-update",
                    "--no-detect-urls",
                    "--no-pretty",
                    "--analytics-disable",
                    "--message=hello",
                ),
                # Else both of them fetch a list of prices from elsewhere.
                {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                {".aider/caches/model_prices_and_context_window.json": '{{"none": {{}}}}'},
            ),
        ),
    ),
    Client(
        "curl",
        Source.SYSTEM,
        (),
        (
            Turn(
                "chat",
                (
                    "curl",
                    "--silent",
                    "--show-error",
                    "--fail-with-body",
                    "{url}/chat/completions",
                    "--header",
                    "Authorization: Bearer {key}",
                    "--json",
                    _CURL_BODY,
                ),
            ),
            Turn(
                "models",
                (
                    "curl",
                    "--silent",
                    "--show-error",
                    "--fail-with-body",
                    "{url}/models",
                    "--header",
                    "Authorization: Bearer {key}",
                ),
                says="gpt-4o-mini",
            ),
        ),
    ),
)
