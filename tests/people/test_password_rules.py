"""Which new passwords are accepted, and that the rules are told."""

from __future__ import annotations

import pytest

from tokenbalance.people.password_rules import (
    DEFAULT_RULES,
    PASSWORD_CHARS_MAX,
    PasswordError,
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
