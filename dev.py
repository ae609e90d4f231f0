#!/usr/bin/env python3
"""Sets up this checkout in `.venv` and runs it; needs Python 3.11 and a package index, no more.

    python3 dev.py serve [...]   the proxy on an embedded Postgres (options of `tokenbalance serve`)
    python3 dev.py check         format, lint, types, import contracts, tests with coverage
    python3 dev.py test [...]    the tests alone (options of pytest)
    python3 dev.py fix           formats, and repairs what the linter can repair
    python3 dev.py lock          writes requirements.lock anew from pyproject.toml

Packages come from requirements.lock, each checked against its hash; from where is pip's own
configuration to say. This file must stay readable to an old Python, so that it can say what it
needs, and must never import what is not in the standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two runs at once are then the user's own business.
    fcntl = None

OLDEST_PYTHON = (3, 11)
OTHER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
MARKER = VENV / "installed.json"

# The parts of requirements.lock, in the order of the file. A package stands in the first part
# that needs it.
PARTS = ("runtime", "build", "embedded", "development")
SERVING = PARTS[:3]

# Tests wait more than they compute: for processes, databases, timeouts. Whoever is idle takes over
# from the others.
IN_PARALLEL = ("--numprocesses=3", "--dist=worksteal")
COVERED = ("--cov", "--cov-report=term:skip-covered")

# Settings of pip that would put packages elsewhere or add some of their own. Those that say
# where packages come from are left alone.
FOREIGN_SETTINGS = (
    "PIP_BUILD_CONSTRAINT",
    "PIP_CONSTRAINT",
    "PIP_EDITABLE",
    "PIP_PREFIX",
    "PIP_REQUIREMENT",
    "PIP_REQUIRE_HASHES",
    "PIP_ROOT",
    "PIP_TARGET",
    "PYTHONHOME",
    "PYTHONPATH",
)

LOCK_HEAD = """\
# Every package that tokenbalance is run and tested with, for all platforms, by version and hash.
# Written by `python3 dev.py lock`; the versions asked for stand in pyproject.toml.
"""


class SetupError(Exception):
    """Something this machine lacks; the message is one line for its user."""


def main(arguments: list[str]) -> int:
    """Run the command named by the first argument; the exit code is the program's."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    commands = {"serve": serve, "check": check, "test": test, "fix": fix, "lock": lock}
    if command not in commands:
        print(__doc__)
        return 0 if command in ("help", "-h", "--help") else 2
    if rest and command in ("check", "fix", "lock"):
        print(f"dev.py: {command} takes no arguments", file=sys.stderr)
        return 2
    try:
        use_new_python(arguments)
        return commands[command](rest)
    except SetupError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


# --- commands ---------------------------------------------------------------------------------


def serve(arguments: list[str]) -> int:
    """Become `tokenbalance serve`, so that signals reach the server itself."""
    install(SERVING)
    program = str(SCRIPTS / "tokenbalance")
    command = [program, "serve", *arguments]
    if os.name != "nt":
        os.execve(program, command, environment())
    return subprocess.call(command, env=environment())


def check(_: list[str]) -> int:
    """Run every check; the tests come last, so that their summary ends the output."""
    install(PARTS)
    steps = {
        "format": module("ruff", "format", "--check", "."),
        "lint": module("ruff", "check", "."),
        "types": [str(SCRIPTS / "basedpyright")],
        "imports": [str(SCRIPTS / "lint-imports")],
    }
    failed = [name for name, command in steps.items() if run(command, title=name) != 0]
    verdict = f"failed: {', '.join(failed)}" if failed else "all passed"
    say(f"format, lint, types, imports: {verdict}")
    tests = run(module("pytest", *IN_PARALLEL, *COVERED), title="tests")
    return tests or int(bool(failed))


def test(arguments: list[str]) -> int:
    """Run pytest with the arguments given."""
    install(PARTS)
    return run(module("pytest", *arguments))


def fix(_: list[str]) -> int:
    """Repair what ruff can repair; what is left is printed."""
    install(PARTS)
    left = run(module("ruff", "check", "--fix", "."))
    return run(module("ruff", "format", ".")) or left


def lock(_: list[str]) -> int:
    """Resolve all parts together, then write each package into the first part that needs it."""
    import tomllib  # noqa: PLC0415 - newer than the Pythons that may read this file

    install(PARTS)
    backend = tomllib.loads(PROJECT.read_text("utf-8"))["build-system"]["requires"]
    everything = resolve(["--all-extras"], backend)
    needed = {
        "runtime": resolve([], [], everything),
        "build": resolve(None, backend, everything),
        "embedded": resolve(["--extra", "embedded"], [], everything),
        "development": everything,
    }
    lines, written = [LOCK_HEAD], set()
    for part in PARTS:
        lines.append(f"# --- {part} ---\n")
        names = [name for name in everything if name in needed[part] and name not in written]
        lines += [everything[name] for name in names]
        written.update(names)
    LOCK.write_text("".join(lines), "utf-8")
    say(f"{LOCK.name}: {len(written)} packages")
    return 0


# --- requirements.lock ------------------------------------------------------------------------


def resolve(
    extras: list[str] | None, requirements: list[str], pins: dict[str, str] | None = None
) -> dict[str, str]:
    """Ask uv for the closure of the project (None: without it) and `requirements`.

    Returns the lines of each package, with its hashes, by name. `pins` keeps the versions of an
    earlier answer.
    """
    command = [str(SCRIPTS / "uv"), "pip", "compile", "--quiet", "--universal", "--no-annotate"]
    command += ["--no-header", "--generate-hashes", "--python-version", "3.11", "-"]
    command += [] if extras is None else [PROJECT.name, *extras]
    with contextlib.ExitStack() as stack:
        if pins is not None:
            constraints = VENV / "constraints.txt"
            constraints.write_text("".join(pins.values()), "utf-8")
            stack.callback(constraints.unlink)
            command += ["--constraint", str(constraints)]
        answer = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(),
            input="\n".join(requirements),
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    if answer.returncode != 0:
        raise SetupError("uv could not resolve pyproject.toml; see above")
    return packages(answer.stdout)


def packages(text: str) -> dict[str, str]:
    """Split requirements into packages: a line that is not indented begins one."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if not line[0].isspace():
            name = line.partition("==")[0]
        found[name] = found.get(name, "") + line
    return found


def lines_of(parts: tuple[str, ...]) -> str:
    """Return the lines of requirements.lock that belong to `parts`."""
    chosen, part = [], ""
    for line in LOCK.read_text("utf-8").splitlines(keepends=True):
        if line.startswith("# --- "):
            part = line.strip("#- \n")
        elif part in parts:
            chosen.append(line)
    return "".join(chosen)


# --- .venv ------------------------------------------------------------------------------------


def install(parts: tuple[str, ...]) -> None:
    """Make `.venv` hold these parts of requirements.lock, and the project; at once if it does."""
    with one_at_a_time():
        present = installed_parts()
        if present.issuperset(parts):
            return
        wanted = tuple(part for part in PARTS if part in present.union(parts))
        pip = usable_pip() or make_venv()
        MARKER.unlink(missing_ok=True)
        say(f"installing {', '.join(wanted)}; the first time takes a minute or two")
        requirements = VENV / "requirements.txt"
        requirements.write_text(lines_of(wanted), "utf-8")
        pip_install(pip, "--require-hashes", "--requirement", str(requirements))
        pip_install(pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        MARKER.write_text(json.dumps({**identity(), "parts": wanted}), "utf-8")


@contextlib.contextmanager
def one_at_a_time():  # noqa: ANN201 - its type would need an import that old Pythons lack
    """Let two runs that start together install one after the other."""
    with Path(__file__).open("rb") as this_file:
        if fcntl:
            fcntl.flock(this_file, fcntl.LOCK_EX)
        yield


def identity() -> dict[str, str]:
    """Say what an installation depends on: the lock, the project, the place and the Python."""
    digest = hashlib.sha256(LOCK.read_bytes())
    digest.update(PROJECT.read_bytes())
    return {"sha256": digest.hexdigest(), "root": str(ROOT), "python": os.path.realpath(PYTHON)}


def read_marker() -> dict:
    """Return what the last complete installation wrote; empty when there was none."""
    try:
        return json.loads(MARKER.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def installed_parts() -> set[str]:
    """Tell which parts are installed; none when anything that they depend on has changed."""
    marker = read_marker()
    current = PYTHON.exists() and identity().items() <= marker.items()
    return set(marker["parts"]) if current else set()


def usable_pip() -> list[str] | None:
    """Return the command that installs into `.venv` as it stands; None if it must be made anew."""
    here, marker = identity(), read_marker()
    moved = any(marker.get(key, here[key]) != here[key] for key in ("root", "python"))
    pip = module("pip")
    return pip if not moved and answers([*pip, "--version"]) else None


def make_venv() -> list[str]:
    """Make an empty `.venv` and return the command that installs into it."""
    say(f"making {VENV.name} with Python {sys.version.split()[0]}")
    if VENV.exists():
        shutil.rmtree(VENV)
    if answers([sys.executable, "-m", "venv", str(VENV)]):
        return module("pip")
    # Debian ships venv without ensurepip; the system's own pip can fill the environment instead.
    shutil.rmtree(VENV, ignore_errors=True)
    outer_pip = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    bare = [sys.executable, "-m", "venv", "--without-pip", str(VENV)]
    if answers(bare) and answers([*outer_pip, "--version"]):
        return outer_pip
    shutil.rmtree(VENV, ignore_errors=True)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    raise SetupError(
        "this Python cannot make a virtual environment here; if the folder is writable, install "
        f"its venv module (Debian, Ubuntu: apt-get install python{version}-venv)"
    )


def pip_install(pip: list[str], *arguments: str) -> None:
    """Run `pip install`; its own words tell what went wrong."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    if run([*pip, "install", *quiet, *arguments]) != 0:
        raise SetupError("pip could not install what requirements.lock names; see above")


# --- processes --------------------------------------------------------------------------------


def use_new_python(arguments: list[str]) -> None:
    """Start again with a Python that is new enough, if this one is not."""
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return
    test_version = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    for name in OTHER_PYTHONS:
        program = shutil.which(name)
        if program and answers([program, "-c", test_version]):
            os.execv(program, [program, str(Path(__file__).resolve()), *arguments])
    raise SetupError(
        f"needs Python 3.11 or newer; this is {sys.version.split()[0]}, and no newer one is on PATH"
    )


def environment() -> dict[str, str]:
    """Return this process's variables without those that would misdirect pip or Python."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN_SETTINGS}
    return {**kept, "PIP_USER": "0"}


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with `.venv`'s Python."""
    return [str(PYTHON), "-m", name, *arguments]


def run(command: list[str], title: str = "") -> int:
    """Run a command in the checkout and return its exit code."""
    if title:
        say(f"--- {title}")
    return subprocess.call(command, cwd=ROOT, env=environment())


def answers(command: list[str]) -> bool:
    """Tell whether a command can be run and succeeds; what it prints is of no interest."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.call(command, env=environment(), **quiet) == 0
    except OSError:
        return False


def say(line: str) -> None:
    """Print a line at once, so that it stands before what a child process prints."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
