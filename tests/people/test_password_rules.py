"""Which new passwords are accepted, and that the rules are told."""

from __future__ import annotations

import pytest

from tokenbalance.people.password_rules import (
    DEFAULT_RULES,
    PASSWORD_CHARS_MAX,
    PasswordError,
    PasswordIsBlank,
    PasswordIsEmail,
    PasswordRules,
    PasswordTooCommon,
    PasswordTooLong,
    PasswordTooShort,
)

EMAIL = "Ada.Lovelace@Example.com"


@pytest.mark.parametrize(
    ("password", "error"),
    [
        ("", PasswordTooShort),
        ("1234567", PasswordTooShort),
        ("x" * (PASSWORD_CHARS_MAX + 1), PasswordTooLong),
        ("password", PasswordTooCommon),
        ("Password123", PasswordTooCommon),
        (" iloveyou ", PasswordTooCommon),
        ("#1stunna", PasswordTooCommon),
        ("ada.lovelace@example.com", PasswordIsEmail),
        ("ADA.LOVELACE", PasswordIsEmail),
        ("\uff41da.l\u00f3velace", PasswordIsEmail),
    ],
)
def test_what_is_guessed_first_is_refused_and_not_repeated(
    password: str, error: type[PasswordError]
) -> None:
    with pytest.raises(error) as refusal:
        DEFAULT_RULES.check(password, EMAIL)
    assert password in {"", "password"} or password not in str(refusal.value)


@pytest.mark.parametrize(
    "password",
    [
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff11",
        "\uff30assword1",
        "pass\u200bword1",
        "password1\0",
        "p\u00e1ssword",
        "pa\u0301ssword",
        "passwordpassword",
        "a" * 16,
        "tokenbalance",
        "TokenBalance",
    ],
)
def test_a_common_password_is_refused_however_it_is_written(password: str) -> None:
    with pytest.raises(PasswordTooCommon):
        DEFAULT_RULES.check(password, EMAIL)


@pytest.mark.parametrize("char", [" ", "\u00a0", "\u200b", "\0", "\u0301"])
def test_a_password_of_which_nothing_is_seen_is_refused(char: str) -> None:
    with pytest.raises(PasswordIsBlank):
        DEFAULT_RULES.check(char * 8, EMAIL)


@pytest.mark.parametrize(
    "password",
    [
        "testpass123",
        "test-password",
        "password-123-long",
        "goodpassword",
        "newpassword123",
        "correct horse",
        "🔑" * 8,
        "example.com",
        "# Common passwords of eight characters or more, in lower case, one a line.",
    ],
)
def test_what_clients_of_the_original_project_use_is_accepted(password: str) -> None:
    DEFAULT_RULES.check(password, EMAIL)


def test_the_old_rule_is_the_length_and_nothing_else() -> None:
    rules = PasswordRules(5)
    for password in ("12345", "password", EMAIL):
        rules.check(password, EMAIL)
    with pytest.raises(PasswordTooShort, match="at least 5 characters"):
        rules.check("1234", EMAIL)
    assert rules.hint == "At least 5 characters."
    with pytest.raises(PasswordTooShort):
        PasswordRules(12).check("eleven char", EMAIL)
    assert "12 characters; not a common password" in PasswordRules(12).hint
