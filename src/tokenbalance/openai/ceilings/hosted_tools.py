"""Tokens of tools that the upstream runs itself, in turns that a request does not show.

After each call the model reads everything again: what it had, and what the call brought. So with
`c` calls, a prompt of `p` tokens and `r` tokens a call the input is at most the sum of
`p + i * r` for i from 0 to c, each turn within the context window. Recorded answers show just
that growth: six web searches of about 5,500 tokens were 115,886 tokens of input.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tokenbalance.model import HostedCalls
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.ceilings.schemas import function_tokens
from tokenbalance.openai.documents import optional_string, path_of, require_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokenbalance.model import Json
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

DEFAULT_CALLS: Final = 8
"""Calls allowed for where the client sets no `max_tool_calls`; recorded answers have up to 6."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Tokens allowed for one tool that is not a function."""

    description: int
    """What the upstream writes about it into every turn."""
    call: int = 0
    """What a call brings into every later turn; 0 where the client runs the tool."""


SEARCH: Final = Allowance(description=5_120, call=10_240)
"""What is written about a web search into every turn is some 4,200 tokens (recorded: 12,594 for
three turns, 22,013 for five), and most of the pages that it opens have 4,000."""
_COMPUTER: Final = Allowance(description=1_024, call=4_096)
_CLIENT: Final = Allowance(description=1_024)

# A type that nobody knows yet is taken for the most expensive one.
_ALLOWANCES: Final = {
    "apply_patch": _CLIENT,
    "code_interpreter": _COMPUTER,
    "computer": _CLIENT,
    "computer_use_preview": _CLIENT,
    "custom": _CLIENT,
    "function": Allowance(description=0),
    "image_generation": _COMPUTER,
    "local_shell": _CLIENT,
    "mcp": Allowance(description=4_096, call=4_096),
    "namespace": Allowance(description=256),
    # Calls of the client's functions, written as a program.
    "programmatic_tool_calling": _CLIENT,
    "shell": _COMPUTER,
    # What it finds are functions of the request, which count whether they are found or not.
    "tool_search": Allowance(description=1_024, call=256),
}


def allowance_for(tool: Mapping[str, Json]) -> Allowance:
    """What is allowed for one tool."""
    kind = tool.get("type")
    environment = tool.get("environment")
    if kind == "tool_search" and tool.get("execution") == "client":
        return _CLIENT
    if kind == "shell" and isinstance(environment, dict) and environment.get("type") == "local":
        return _CLIENT
    return _ALLOWANCES.get(kind, SEARCH) if isinstance(kind, str) else SEARCH


def hosted_calls(
    prompt: int, allowances: list[Allowance], asked: int | None, fewest: int, model: Model
) -> HostedCalls | None:
    """The calls to allow for, where the first turn reads `prompt` tokens; None where none can be.

    `asked` is the client's own limit of them, `fewest` those that it insists on.
    """
    growth = max((allowance.call for allowance in allowances), default=0)
    if not growth:
        return None
    most = DEFAULT_CALLS if asked is None else asked
    return HostedCalls(prompt, growth, model.context, most, min(fewest, most), asked)


def every_tool(tools: Json, at: str) -> Iterator[tuple[dict[str, Json], str]]:
    """The tools of a list with their paths, and those inside of its namespaces.

    Raises:
        InvalidType: one is not an object.
    """
    if not isinstance(tools, list):
        return
    for index, tool in enumerate(tools):
        tool_at = path_of(at, index)
        fields = require_object(tool, tool_at)
        yield fields, tool_at
        yield from every_tool(fields.get("tools"), path_of(tool_at, "tools"))


def tools_tokens(tools: Json, at: str, measure: Measure) -> int:
    """Tokens at most of what a list of tools says itself, those in namespaces included.

    Raises:
        InvalidType: one is not an object.
    """
    return sum(
        function_tokens(without_inner_tools(tool), measure) for tool, _ in every_tool(tools, at)
    )


def without_inner_tools(tool: dict[str, Json]) -> dict[str, Json]:
    """What a tool says itself, without the tools of a namespace."""
    if not isinstance(tool.get("tools"), list):
        return tool
    return {key: member for key, member in tool.items() if key != "tools"}


def check_tool(tool: Mapping[str, Json], at: str) -> None:
    """See that the tool at path `at` reaches no network that is not the public one.

    Raises:
        UnsupportedParameter: it does.
    """
    url = optional_string(tool, "server_url", at=at)
    if url is not None and not _is_public(url):
        raise unsupported(path_of(at, "server_url"))


def _is_public(url: str) -> bool:
    """Whether `url` is https and names a host in public DNS: no address, no local name."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    if not url.lower().startswith("https://") or host is None or "%" in host:
        return False
    name = host.rstrip(".")
    is_local = "." not in name or name.endswith((".localhost", ".local", ".internal"))
    return not is_local and not _is_address(name)


def _is_address(name: str) -> bool:
    # Resolvers also read 127.1, 0x7f000001 and the like: a last label of digits is an address.
    last = name.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
