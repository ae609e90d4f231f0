"""The sandbox's output text, cut into tokens, and stopped at a limit.

The same prompt always returns the same text. It says that it comes from the sandbox, repeats the
beginning of the prompt and ends after about a hundred tokens. A prompt that asks for a number of
words ("write 300 words") gets exactly that many.

No HTTP and no JSON shapes here: the endpoints wrap a `Generated`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

from tokenbalance.openai.tokens import encoding_for

if TYPE_CHECKING:
    from collections.abc import Sequence

ECHO_LIMIT_WORDS = 40
ECHO_LIMIT_CHARACTERS = 400
LENGTH_LIMIT_WORDS = 20_000

_WORDS_WANTED = re.compile(r"\b(\d{1,6})\s+words?\b", re.IGNORECASE)
_PROSE = (
    "A balance is a promise about tokens and a hold is how the promise is kept . "
    "First the most that an answer may cost is set aside , then the answer is fetched , and "
    "then what it truly cost is written down and the rest is given back . "
    "Nobody has to trust anybody , because every entry says what it was for and the sum of "
    "all entries is the balance ."
)
_VOCABULARY = tuple(_PROSE.replace(" .", ".").replace(" ,", ",").split())


@dataclass(frozen=True, slots=True)
class Generated:
    """A text as the tokens of one choice."""

    pieces: tuple[str, ...]
    """The text in order; a piece is one token, or several that form one character."""
    tokens: int
    """The tokens that it costs, never more than the cap."""
    finished: bool = True
    """False if the cap stopped it."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


def compose(prompt: str, choice: int = 0) -> str:
    """Write the text for a prompt; later choices begin with their number."""
    if wanted := _WORDS_WANTED.search(prompt):
        return _prose(min(int(wanted[1]), LENGTH_LIMIT_WORDS), first=choice)
    opening = f"(Choice {choice + 1}) " if choice else ""
    return (
        f"{opening}Hello from the tokenbalance sandbox, a stand-in for the OpenAI API. "
        f"{_echo(prompt)} No model has read it, but every token was counted: compare `usage` "
        "with your balance before and after. Ask me to write 300 words for a longer answer, "
        "stream it, or set a limit and watch me stop early. The models error-429, slow, stall, "
        "cut and no-usage show what happens on a bad day."
    )


def spell(text: str, model: str, cap: int | None, stops: Sequence[str] = ()) -> Generated:
    """Cut a text into the model's tokens, up to a stop sequence or the cap."""
    encoding = encoding_for(model)
    tokens = encoding.encode_ordinary(_before_any(stops, text))
    kept = tokens if cap is None else tokens[:cap]
    pieces = _characters(encoding.decode_tokens_bytes(kept))
    return Generated(tuple(pieces), tokens=len(kept), finished=len(kept) == len(tokens))


def _prose(words: int, first: int) -> str:
    return " ".join(islice(cycle(_VOCABULARY), first, first + words))


def _echo(prompt: str) -> str:
    words = prompt.split()
    if not words:
        return "You wrote nothing that I can repeat."
    said = " ".join(words[:ECHO_LIMIT_WORDS])[:ECHO_LIMIT_CHARACTERS]
    more = " ..." if len(words) > ECHO_LIMIT_WORDS or len(said) == ECHO_LIMIT_CHARACTERS else ""
    return f'You wrote: "{said}{more}".'


def _before_any(stops: Sequence[str], text: str) -> str:
    ends = [text.find(stop) for stop in stops if stop]
    found = [end for end in ends if end >= 0]
    return text[: min(found)] if found else text


def _characters(tokens: list[bytes]) -> list[str]:
    """Join tokens into whole characters, since a token may end inside one.

    A character that the cap cut in two is left out, although its tokens count.
    """
    pieces: list[str] = []
    pending = b""
    for token in tokens:
        pending += token
        try:
            pieces.append(pending.decode())
        except UnicodeDecodeError:
            continue
        pending = b""
    return pieces
