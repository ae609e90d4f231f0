"""Tools that the upstream runs itself, in turns that a request does not show: tokens, and fees.

After each call the model reads everything again: what it had, and what the call returned. So with
`c` calls, a prompt of `p` tokens and `r` tokens per call the input is at most the sum of
`p + i * r` for i from 0 to c, each turn within the context window. Recorded responses grow like
that: six web searches of about 5,500 tokens were 115,886 tokens of input.

Some tools have a fee besides, for each call or for each container that they run in. It has the name
of the tool, and no number here: a rate card may set it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from tokenbalance.model import HostedCalls
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.ceilings.messages import is_of
from tokenbalance.openai.ceilings.schemas import function_tokens
from tokenbalance.openai.documents import optional_string, path_of, require_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tokenbalance.model import Json, Quantities
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

Offer: TypeAlias = "tuple[dict[str, Json], str]"
"""A tool that a request offers, with its path."""

DEFAULT_CALLS: Final = 8
"""Calls to hold for if the client sets no `max_tool_calls`; recorded responses have up to 6."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Tokens to hold for one tool that is not a function."""

    description: int
    """Its description, which the upstream writes into every turn."""
    call: int = 0
    """What a call adds to every later turn; 0 if the client runs the tool."""
    fee: str | None = None
    """The name of its fee; None: calls of it have none."""


WEB_SEARCH: Final = "web_search"
SEARCH: Final = Allowance(description=5_120, call=10_240, fee=WEB_SEARCH)
"""The description of a web search takes about 4,200 tokens in every turn (recorded: 12,594 for
three turns, 22,013 for five), and most pages that it opens have 4,000."""
_COMPUTER: Final = Allowance(description=1_024, call=4_096)
_CONTAINERS: Final = frozenset({"code_interpreter", "shell"})
"""Tools whose fee is for a container that they run in, which several calls may share."""
_CLIENT: Final = Allowance(description=1_024)

# An unknown type is taken for the most expensive one.
_ALLOWANCES: Final = {
    "apply_patch": _CLIENT,
    "code_interpreter": replace(_COMPUTER, fee="code_interpreter"),
    "computer": _CLIENT,
    "computer_use": _CLIENT,
    "computer_use_preview": _CLIENT,
    "custom": _CLIENT,
    "file_search": replace(SEARCH, fee="file_search"),
    "function": Allowance(description=0),
    "image_generation": _COMPUTER,
    "local_shell": _CLIENT,
    "mcp": Allowance(description=4_096, call=4_096),
    "namespace": Allowance(description=256),
    # A program that calls the client's functions.
    "programmatic_tool_calling": _CLIENT,
    "shell": replace(_COMPUTER, fee="shell"),
    # It finds functions of the request, which are counted in any case.
    "tool_search": Allowance(description=1_024, call=256),
    "web_search": SEARCH,
    "web_search_2025_08_26": SEARCH,
    "web_search_preview": SEARCH,
    "web_search_preview_2025_03_11": SEARCH,
}
ALLOWED_TOOLS: Final = frozenset({"allowed_tools"})
"""Types of a `tool_choice` that names the tools that may be called."""
_FEE_NAME: Final = re.compile(r"[a-z0-9_]{1,40}")
NO_NAME: Final = "unknown"
"""The fee of a tool whose type cannot be the name of one."""
_UNNAMED: Final = replace(SEARCH, fee=NO_NAME)


def allowance_for(tool: Mapping[str, Json]) -> Allowance:
    """Return the allowance of one tool."""
    kind = tool.get("type")
    environment = tool.get("environment")
    if kind == "tool_search" and tool.get("execution") == "client":
        return _CLIENT
    if kind == "shell" and isinstance(environment, dict) and environment.get("type") == "local":
        return _CLIENT
    if not isinstance(kind, str):
        return _UNNAMED
    return _ALLOWANCES.get(kind) or replace(SEARCH, fee=fee_name(kind))


def fee_name(kind: str) -> str:
    """The name of the fee of a tool that is not known: what an item of its calls is called."""
    if kind.startswith(WEB_SEARCH):
        return WEB_SEARCH
    return kind if _FEE_NAME.fullmatch(kind) is not None else NO_NAME


def fee_kind(fee: str) -> str:
    """The kind of quantity that the fee of this name is charged for, as `books.pricing` has it."""
    return f"session:{fee}" if fee in _CONTAINERS else f"call:{fee}"


def fee_of(allowance: Allowance) -> Quantities:
    """What a call costs besides tokens."""
    return () if allowance.fee is None else ((fee_kind(allowance.fee), 1),)


def callable_tools(choice: Json, tools: Iterable[Offer]) -> list[Offer]:
    """The tools that the model may call by a `tool_choice`."""
    if choice == "none":
        return []
    allowed = choice.get("tools") if isinstance(choice, dict) else None
    if not isinstance(allowed, list) or not is_of(choice, ALLOWED_TOOLS):
        return list(tools)
    if not all(isinstance(each, dict) for each in allowed):
        return list(tools)
    names = {_name_of(each) for each in allowed if isinstance(each, dict)}
    return [offer for offer in tools if _name_of(offer[0]) in names]


def _name_of(tool: Mapping[str, Json]) -> str:
    return allowance_for(tool).fee or str(tool.get("type"))


def hosted_calls(
    prompt: int, allowances: list[Allowance], asked: int | None, fewest: int, model: Model
) -> HostedCalls | None:
    """Return the calls to hold for if the first turn reads `prompt` tokens; None without any.

    `asked` is the client's own limit, `fewest` the number that it insists on.
    """
    growth = max((allowance.call for allowance in allowances), default=0)
    if not growth:
        return None
    most = DEFAULT_CALLS if asked is None else asked
    return HostedCalls(prompt, growth, model.context, most, min(fewest, most), asked)


def every_tool(tools: Json, at: str) -> Iterator[Offer]:
    """Yield the tools of a list with their paths, and those inside of namespaces.

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
    """Tokens at most of the tools in a list, including those in namespaces.

    Raises:
        InvalidType: one is not an object.
    """
    return sum(
        function_tokens(without_inner_tools(tool), measure) for tool, _ in every_tool(tools, at)
    )


def without_inner_tools(tool: dict[str, Json]) -> dict[str, Json]:
    """Return a tool without the tools of its namespace."""
    if not isinstance(tool.get("tools"), list):
        return tool
    return {key: member for key, member in tool.items() if key != "tools"}


def check_tool(tool: Mapping[str, Json], at: str) -> None:
    """Make sure that the tool at path `at` reaches only the public internet.

    Raises:
        UnsupportedParameter: it may reach another network.
    """
    url = optional_string(tool, "server_url", at=at)
    if url is not None and not _is_public(url):
        raise unsupported(path_of(at, "server_url"))


def _is_public(url: str) -> bool:
    """Whether `url` is https with a host name in public DNS: no address, no local name."""
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
