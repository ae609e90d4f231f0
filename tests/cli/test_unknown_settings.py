from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_names_that_are_no_settings_are_warned_of_with_the_nearest(cli: Cli) -> None:
    cli.settings["TOKENBALANCE_SINGUP"] = "s3cret"
    cli.settings["TOKENBALANCE_KEY"] = "a user's own"
    _ = (cli.folder / ".env").write_text("TOKENBALANCE_HOLD_WAIT=1\ntokenbalance_zzz=2\n", "utf-8")
    response = cli("user", "list", "--json")
    assert (response.code, response.out) == (0, "[]\n")
    no_effect = "is not a setting and has no effect"
    assert response.err.splitlines() == [
        f"warning: TOKENBALANCE_HOLD_WAIT {no_effect}; did you mean TOKENBALANCE_HOLD_WAIT_S?",
        f"warning: TOKENBALANCE_SINGUP {no_effect}; did you mean TOKENBALANCE_SIGNUP?",
        f"warning: TOKENBALANCE_ZZZ {no_effect}",
    ]


def test_settings_in_either_case_are_not_warned_of(cli: Cli) -> None:
    _ = (cli.folder / ".env").write_text("tokenbalance_signup=open\n", "utf-8")
    cli.settings["TOKENBALANCE_SWEEP_S"] = "5"
    assert cli("user", "list").err == ""
