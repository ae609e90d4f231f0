"""Values of settings as they are written: addresses, and secrets in files.

Every error says what is wrong with a value and never repeats it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from pydantic import BeforeValidator, SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OPENAI_HOST: Final = "api.openai.com"
# A URL without a password; hosts may be several, or none.
_USER_OF_DSN: Final = re.compile(r"(postgresql://)([^:@/?#]*)@([^@]*)")


def plain_dsn(url: str) -> str:
    """`postgres://` or `postgresql+driver://` as the `postgresql://` that asyncpg reads."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgres", "postgresql"}:
        msg = "must start with postgresql:// or postgres://"
        raise ValueError(msg)
    return f"postgresql://{rest}"


def is_openai(base_url: str) -> bool:
    """Whether the host is OpenAI's, worldwide or of a region (`eu.api.openai.com`)."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    return host == _OPENAI_HOST or host.endswith(f".{_OPENAI_HOST}")


def read_by(read: Callable[[str], object]) -> BeforeValidator:
    """Read a value that is text with a function; one of another type is taken as it is."""

    def read_text_only(value: object) -> object:
        return read(value) if isinstance(value, str) else value

    return BeforeValidator(read_text_only)


def egress_proxy(url: SecretStr | None) -> SecretStr | None:
    """Check that a URL is the address of an HTTP proxy, with or without credentials."""
    if url is not None and not _is_server(url.get_secret_value(), ("http", "https")):
        msg = "must be http://host:port or https://host:port, optionally with user:password@"
        raise ValueError(msg)
    return url


def mail_server(url: SecretStr | None) -> SecretStr | None:
    """Check that a URL is the address of a mail server, with or without credentials."""
    if url is not None and not _is_server(url.get_secret_value(), ("smtp", "smtps")):
        msg = "must be smtp://host:port or smtps://host:port, optionally with user:password@"
        raise ValueError(msg)
    return url


def _is_server(url: str, schemes: tuple[str, ...]) -> bool:
    """Whether a URL names a server and nothing on it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_address = parts.scheme in schemes and bool(parts.hostname) and port != 0
    is_more = parts.path.strip("/") or parts.query or parts.fragment
    return is_address and not is_more and url.isascii() and url.isprintable()


def addresses_in(text: str) -> tuple[str, ...]:
    """Read e-mail addresses that are separated by commas."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all("@" in one.strip("@") and " " not in one and one.isprintable() for one in found):
        msg = "must be e-mail addresses, separated by commas"
        raise ValueError(msg)
    return found


def one_address(text: str | None) -> str | None:
    """Check that a text is one e-mail address."""
    if text is not None and len(addresses_in(text)) != 1:
        msg = "must be one e-mail address"
        raise ValueError(msg)
    return text


def read_secret(name: str, file: Path | None) -> SecretStr | None:
    """Read the one line of a file; None if it is empty, or there is no file to read."""
    if file is None:
        return None
    text = read_text(name, file)
    try:
        return one_line(text)
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from None


def read_text(name: str, file: Path) -> str:
    """Read the file of a variable.

    Raises:
        ValueError: it cannot be read; the message names the variable.

    """
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{name}: cannot be read ({type(error).__name__})"
        raise ValueError(msg) from None


def with_password(url: SecretStr | None, password: SecretStr) -> SecretStr | None:
    """Put a password into a URL that has a user without one."""
    if url is None:
        return None
    found = _USER_OF_DSN.fullmatch(url.get_secret_value())
    if found is None:
        return url
    start, user, rest = found.groups()
    return SecretStr(f"{start}{user}:{quote(password.get_secret_value(), safe='')}@{rest}")


def one_line(value: str) -> SecretStr | None:
    """Return a secret without the spaces around it; None if nothing is left.

    Raises:
        ValueError: it is not one line of printable ASCII.

    """
    secret = value.strip()
    if not secret.isprintable() or not secret.isascii():
        msg = "must be one line of printable ASCII"
        raise ValueError(msg)
    return SecretStr(secret) if secret else None
