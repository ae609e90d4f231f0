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

from tokenbalance.document import optional_string, path_of, require_object
from tokenbalance.model import HostedCalls
from tokenbalance.tokens.media import unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Json
    from tokenbalance.tokens.models import Model

DEFAULT_CALLS: Final = 8
"""Calls allowed for where the client sets no `max_tool_calls`; recorded answers have up to 6."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Tokens allowed for one tool that is not a function."""

    description: int
    """What the upstream writes about it into every turn."""
    call: int = 0
    """What a call brings into every later turn; 0 where the client runs the tool."""


SEARCH: Final = Allowance(description=1_024, call=10_240)
_COMPUTER: Final = Allowance(description=1_024, call=4_096)
_CLIENT: Final = Allowance(description=1_024)

# A type that nobody knows yet is taken for the most expensive one.
_ALLOWANCES: Final = {
    "apply_patch": _CLIENT,
    "code_interpreter": _COMPUTER,
    "computer": _CLIENT,
    "computer_use_preview": _CLIENT,
    "custom": _CLIENT,
    "image_generation": _COMPUTER,
    "local_shell": _CLIENT,
    "mcp": Allowance(description=4_096, call=4_096),
    "namespace": _CLIENT,
    "shell": _COMPUTER,
    # What it finds are functions of the request, which count whether they are found or not.
    "tool_search": Allowance(description=1_024, call=256),
}

_STATE_FIELDS: Final = frozenset(
    {"container_id", "file_id", "file_ids", "skill_id", "vector_store_ids"}
)
"""Members of a tool that name what lies in the upstream's store."""


def allowance_for(tool: Mapping[str, Json]) -> Allowance:
    """What is allowed for `tool`, which is not a function."""
    if tool.get("execution") == "client":
        return _CLIENT
    kind = tool.get("type")
    return _ALLOWANCES.get(kind, SEARCH) if isinstance(kind, str) else SEARCH


def hosted_calls(
    prompt: int, allowances: list[Allowance], asked: int | None, model: Model
) -> HostedCalls | None:
    """The calls to allow for, where the first turn reads `prompt` tokens; None where none can be.

    `asked` is the client's own limit of them.
    """
    growth = max((allowance.call for allowance in allowances), default=0)
    if not growth:
        return None
    most = DEFAULT_CALLS if asked is None else asked
    return HostedCalls(prompt, growth, model.context, most, fewest=0, asked=asked)


def check_tool(tool: dict[str, Json], at: str) -> None:
    """See that the hosted `tool` at path `at` reaches no state or network that is not its own.

    Raises:
        UnsupportedParameter: it does.
    """
    kind = tool.get("type")
    if kind == "file_search":
        raise unsupported(at)
    container = tool.get("container")
    if kind == "code_interpreter" and container is not None and not isinstance(container, dict):
        raise unsupported(path_of(at, "container"))
    if kind == "mcp":
        _check_server(tool, at)
    _refuse_state(tool, at)


def _check_server(tool: dict[str, Json], at: str) -> None:
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


def _refuse_state(value: Json, at: str) -> None:
    if isinstance(value, dict):
        for key, member in value.items():
            if key in _STATE_FIELDS and member:
                raise unsupported(path_of(at, key))
            _refuse_state(member, path_of(at, key))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            _refuse_state(element, path_of(at, index))


def check_tools(tools: list[Json], at: str) -> list[dict[str, Json]]:
    """The `tools` at path `at` as objects, each of which may be used.

    Raises:
        InvalidType: one is not an object.
        UnsupportedParameter: one reaches for shared state.
    """
    checked: list[dict[str, Json]] = []
    for index, tool in enumerate(tools):
        tool_at = path_of(at, index)
        fields = require_object(tool, tool_at)
        if fields.get("type") != "function":
            check_tool(fields, tool_at)
        checked.append(fields)
    return checked
