#!/usr/bin/env python3
"""Sets up this checkout in `.venv` and runs it; needs Python 3.11 and a package index, no more.

    python3 dev.py serve [...]   the proxy on an embedded Postgres (options of `tokenbalance serve`)
    python3 dev.py check         format, lint, types, import contracts, tests with coverage
    python3 dev.py test [...]    the tests alone (options of pytest)
    python3 dev.py fix           formats, and repairs what the linter can repair
    python3 dev.py lock [...]    writes requirements.lock from pyproject.toml (--upgrade: all anew)

Packages come from requirements.lock and nowhere else, each checked against its hash: pip fetches
the installer that the lock names, and the installer the rest. Nothing is resolved, so that no
release of tomorrow can break an installation. From where packages come is pip's own configuration
to say. This file must stay readable to an old Python, so that it can say what it needs, and must
never import what is not in the standard library.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import shutil
import ssl
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
# that needs it; the installer is the one package that pip fetches itself.
PARTS = ("runtime", "build", "embedded", "installer", "development")
SERVING = PARTS[:4]
INSTALLER = "uv"

# Tests wait more than they compute: for processes, databases, timeouts. Whoever is idle takes over
# from the others.
IN_PARALLEL = ("--numprocesses=3", "--dist=worksteal")
COVERED = ("--cov", "--cov-report=term:skip-covered")

# Settings of pip and uv that would put packages elsewhere, add some of their own or check them
# otherwise. Those that say where packages come from are left alone.
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
    "UV_BUILD_CONSTRAINT",
    "UV_CONFIG_FILE",
    "UV_CONSTRAINT",
    "UV_EXCLUDE",
    "UV_EXCLUDE_NEWER",
    "UV_NO_EDITABLE",
    "UV_NO_VERIFY_HASHES",
    "UV_OVERRIDE",
    "UV_PRERELEASE",
    "UV_PROJECT",
    "UV_PYTHON",
    "UV_REQUIRE_HASHES",
    "UV_RESOLUTION",
    "UV_SYSTEM_PYTHON",
    "UV_WORKING_DIR",
)

# uv does not read pip's configuration; these are the variables by which it is told the same.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
TOLD_TO_UV = {
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "default-timeout": ("UV_HTTP_TIMEOUT",),
    "extra-index-url": ("UV_INDEX",),
    "find-links": ("UV_FIND_LINKS",),
    "index-url": ("UV_DEFAULT_INDEX",),
    "proxy": PROXIES,
    "timeout": ("UV_HTTP_TIMEOUT",),
    "trusted-host": ("UV_INSECURE_HOST",),
}

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
        if command not in ("help", "-h", "--help"):
            print(f"dev.py: there is no command {command!r}", file=sys.stderr)
        print(__doc__)
        return 0 if command in ("help", "-h", "--help") else 2
    if rest and (command in ("check", "fix") or (command == "lock" and rest != ["--upgrade"])):
        print(f"dev.py: {command} does not take {' '.join(rest)}", file=sys.stderr)
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


def lock(arguments: list[str]) -> int:
    """Resolve all parts together, then write each package into the first part that needs it.

    Versions that pyproject.toml does not name stay as they are locked, unless all are upgraded.
    """
    import tomllib  # noqa: PLC0415 - newer than the Pythons that may read this file

    # The installer alone: the lock may be what has to be mended.
    with one_at_a_time():
        uv = make_installer()
    backend = tomllib.loads(PROJECT.read_text("utf-8"))["build-system"]["requires"]
    known = "" if arguments == ["--upgrade"] else lines_of(PARTS)
    everything = resolve(uv, ["--all-extras"], backend, preferred=known)
    needed = {
        "runtime": resolve(uv, [], [], pins=everything),
        "build": resolve(uv, None, backend, pins=everything),
        "embedded": resolve(uv, ["--extra", "embedded"], [], pins=everything),
        "installer": {INSTALLER: everything[INSTALLER]},
        "development": everything,
    }
    lines, placed = [LOCK_HEAD], set()
    for part in PARTS:
        lines.append(f"# --- {part} ---\n")
        names = [name for name in everything if name in needed[part] and name not in placed]
        # An old pip must meet a package with its extra before anything that asks for it without.
        names.sort(key=lambda name: "[" not in everything[name].partition("==")[0])
        lines += [everything[name] for name in names]
        placed.update(names)
    LOCK.write_text("".join(lines), "utf-8")
    say(f"{LOCK.name}: {len(placed)} packages")
    return 0


# --- requirements.lock ------------------------------------------------------------------------


def resolve(
    uv: Uv,
    extras: list[str] | None,
    requirements: list[str],
    *,
    pins: dict[str, str] | None = None,
    preferred: str = "",
) -> dict[str, str]:
    """Ask uv for the closure of the project (None: without it) and `requirements`.

    Returns the lines of each package, with its extras and hashes, by name. `pins` keeps the
    versions of an earlier answer, `preferred` those of a lock wherever they still fit.
    """
    answer = VENV / "resolved.txt"
    command = ["compile", "--universal", "--no-annotate", "--no-header", "--generate-hashes"]
    # An old pip takes an extra that a package asks for and the lock does not name for something
    # that is still to be resolved.
    command += ["--no-strip-extras", "--python-version", "3.11", "--output-file", str(answer), "-"]
    command += [] if extras is None else [PROJECT.name, *extras]
    with contextlib.ExitStack() as stack:
        stack.callback(answer.unlink)
        answer.write_text(preferred, "utf-8")
        if pins is not None:
            constraints = VENV / "constraints.txt"
            # A constraint must not name extras.
            plain = [name + line[line.index("==") :] for name, line in pins.items()]
            constraints.write_text("".join(plain), "utf-8")
            stack.callback(constraints.unlink)
            command += ["--constraint", str(constraints)]
        uv.pip(*command, words="\n".join(requirements))
        return packages(answer.read_text("utf-8"))


def packages(text: str) -> dict[str, str]:
    """Split requirements into packages: a line that is not indented begins one."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if not line[0].isspace():
            name = line.partition("==")[0].partition("[")[0]
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
        uv = make_installer()
        say(f"installing {', '.join(wanted)}; the first time may take a minute")
        uv.pip("sync", "--require-hashes", str(written("requirements.txt", wanted)))
        # Built anew: uv's cache would give back what an older state of this folder was called.
        editable = ("--no-deps", "--no-build-isolation", "--no-cache", "--editable", str(ROOT))
        uv.pip("install", *editable)
        MARKER.write_text(json.dumps({**identity(), "parts": wanted}), "utf-8")


def written(name: str, parts: tuple[str, ...]) -> Path:
    """Write the lines of these parts into a file of `.venv`."""
    path = VENV / name
    path.write_text(lines_of(parts), "utf-8")
    return path


def make_installer() -> Uv:
    """Let pip fetch the installer that requirements.lock names, whatever `.venv` holds so far."""
    pip = usable_pip() or make_venv()
    MARKER.unlink(missing_ok=True)
    pip_install(pip, "--no-deps", "--require-hashes", "-r", str(written("uv.txt", ("installer",))))
    return Uv(settings_of(pip))


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


def settings_of(pip: list[str]) -> dict[str, str]:
    """Return what pip is told by its files and variables, by the names of its options."""
    listed = subprocess.run(
        [*pip, "config", "list"],
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    found: dict[str, str] = {}
    # In pip's own order: what is said for one command wins over what is said for all.
    for section in ("global.", "install.", ":env:."):
        for line in listed.stdout.splitlines():
            if line.startswith(section):
                option, _, value = line[len(section) :].partition("=")
                found[option] = ast.literal_eval(value)
    return found


class Uv:
    """The installer in `.venv`, which takes packages from where pip would take them."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.program = str(SCRIPTS / INSTALLER)
        self.variables = {**environment(), **variables_of(settings), "UV_NO_CONFIG": "1"}
        self.options = ["--no-index"] if is_on(settings.get("no-index")) else []
        probe = [self.program, "pip", "list", "--python", str(PYTHON)]
        if is_on(settings.get("no-cache-dir")) or not answers(probe, self.variables):
            # As pip does where the home folder cannot be written to.
            self.variables["UV_NO_CACHE"] = "1"

    def pip(self, command: str, *arguments: str, words: str | None = None) -> None:
        """Run a command of `uv pip` for `.venv`; its own words tell what went wrong."""
        options = ["--quiet", "--python", str(PYTHON), *self.options]
        done = subprocess.run(
            [self.program, "pip", command, *options, *arguments],
            cwd=ROOT,
            env=self.variables,
            input=words,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != 0:
            raise SetupError(f"uv could not {command} what this folder names; see above")


def variables_of(settings: dict[str, str]) -> dict[str, str]:
    """Return the variables that tell uv what pip is told; what uv is told directly stays."""
    # Hashes say what is installed, so that any index may provide it, as for pip.
    told = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, names in TOLD_TO_UV.items():
        if option in settings:
            told.update(dict.fromkeys(names, " ".join(settings[option].split())))
    if "UV_FIND_LINKS" in told:
        places = told["UV_FIND_LINKS"].split()
        # pip passes over a folder that is not there.
        told["UV_FIND_LINKS"] = ",".join(p for p in places if "://" in p or (ROOT / p).exists())
    if "SSL_CERT_FILE" not in told:
        told.update(certificates())
    own = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    return {name: value for name, value in told.items() if value and name not in own}


def certificates() -> dict[str, str]:
    """Say whom to trust where pip's configuration does not: as pip does, old or new."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            return {"SSL_CERT_FILE": os.environ[name]}
    # The machine's own, which a new pip trusts too; uv brings its own where there are none.
    places = ssl.get_default_verify_paths()
    has_file = places.cafile or (places.capath and any(Path(places.capath).iterdir()))
    elsewhere = os.name != "posix" or sys.platform == "darwin"
    return {"UV_SYSTEM_CERTS": "1"} if has_file or elsewhere else {}


def is_on(value: str | None) -> bool:
    """Read a switch as pip reads it."""
    return (value or "").lower() in ("1", "on", "t", "true", "y", "yes")


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


def answers(command: list[str], variables: dict[str, str] | None = None) -> bool:
    """Tell whether a command can be run and succeeds; what it prints is of no interest."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.call(command, env=variables or environment(), **quiet) == 0
    except OSError:
        return False


def say(line: str) -> None:
    """Print a line at once, so that it stands before what a child process prints."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
