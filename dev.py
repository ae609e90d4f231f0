#!/usr/bin/env python3
"""Sets up this checkout in `.venv` and runs it; needs only Python 3.11 and a package index.

    python3 dev.py serve [...]   the proxy on an embedded Postgres (options of `tokenbalance serve`)
    python3 dev.py check         format, lint, types, import contracts, tests
    python3 dev.py test [...]    the tests alone (options of pytest)
    python3 dev.py fix           formats, and repairs what the linter can repair
    python3 dev.py lock [...]    writes requirements.lock from pyproject.toml (--upgrade: all anew)

pip installs uv, and uv everything else: only what requirements.lock names, by hash, from where
pip's own configuration says. This file must stay readable to old Pythons, which can then say what
they lack, and must import only the standard library.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where two runs at once are not kept apart
    fcntl = None

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
MARKER = VENV / "installed.txt"

# The parts of requirements.lock in the order of the file; a package is in the first that needs it.
PARTS = ("runtime", "build", "embedded", "installer", "development")
SERVING = PARTS[:4]

# An option of pip that says where packages come from, and the variables that tell uv the same.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
TOLD_TO_UV = {
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "default-timeout": ("UV_HTTP_TIMEOUT",),
    "extra-index-url": ("UV_INDEX",),
    "find-links": ("UV_FIND_LINKS",),
    "index-url": ("UV_DEFAULT_INDEX",),
    "no-cache-dir": ("UV_NO_CACHE",),
    "proxy": PROXIES,
    "timeout": ("UV_HTTP_TIMEOUT",),
    "trusted-host": ("UV_INSECURE_HOST",),
}
TRUE = ("1", "on", "t", "true", "y", "yes")
# Other variables of pip and uv would put packages elsewhere, add some, or not check them.
KEPT = (
    *(f"PIP_{option.upper().replace('-', '_')}" for option in TOLD_TO_UV),
    *("PIP_CACHE_DIR", "PIP_CONFIG_FILE", "PIP_NO_INDEX", "PIP_KEYRING_PROVIDER"),
    *("UV_CACHE_DIR", "UV_CONCURRENT", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
    *("UV_HTTP", "UV_INDEX", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER", "UV_LINK_MODE"),
    *("UV_NATIVE_TLS", "UV_NO_CACHE", "UV_OFFLINE", "UV_SYSTEM_CERTS"),
)


class SetupError(Exception):
    """Something this machine lacks; the message is one line for its user."""


def main(arguments: list[str]) -> int:
    """Run the command named by the first argument; the exit code is the program's."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    commands = {"serve": serve, "check": check, "test": test, "fix": fix, "lock": lock}
    if command not in commands:
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
    command = [str(SCRIPTS / "tokenbalance"), "serve", *arguments]
    if os.name != "nt":
        os.execve(command[0], command, environment())
    return run(command)


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
    print(f"format, lint, types, imports: {verdict}", flush=True)
    # Tests mostly wait: for processes, databases, timeouts. An idle worker takes over from others.
    # Coverage takes a quarter of the time more, so it is measured when somebody asks for it.
    parallel = ("--numprocesses=3", "--dist=worksteal")
    return run(module("pytest", *parallel), title="tests") or int(bool(failed))


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

    install(("installer",))  # and nothing more: the lock may be what has to be mended
    backend = "\n".join(tomllib.loads(PROJECT.read_text("utf-8"))["build-system"]["requires"])
    known = "" if arguments else lines_of(PARTS)
    everything = resolve(known, backend, PROJECT.name, "--all-extras")
    known = "".join(everything.values())
    needed = {
        "runtime": resolve(known, "", PROJECT.name),
        "build": resolve(known, backend),
        "embedded": resolve(known, "", PROJECT.name, "--extra", "embedded"),
        "installer": {"uv"},
        "development": set(everything),
    }
    text = "# Every package that tokenbalance is run and tested with, "
    text += "for all platforms, by version and hash.\n"
    text += "# Written by `python3 dev.py lock`; the versions asked for stand in pyproject.toml.\n"
    for part in PARTS:
        text += f"# --- {part} ---\n"
        names = [name for name in everything if name in needed[part]]
        # An old pip must meet a package with its extra before what asks for it without.
        names.sort(key=lambda name: "[" not in everything[name].partition("==")[0])
        text += "".join(everything.pop(name) for name in names)
    LOCK.write_text(text, "utf-8")
    return 0


def resolve(known: str, requirements: str, *project: str) -> dict[str, str]:
    """Return the lines of each package needed, by name, in the version of `known` if that fits."""
    resolved = VENV / "resolved.txt"
    resolved.write_text(known, "utf-8")
    command = ["compile", "--universal", "--no-annotate", "--no-header", "--generate-hashes"]
    # An old pip resolves an extra anew that a package asks for and the lock does not name.
    command += ["--no-strip-extras", "--python-version=3.11", f"--output-file={resolved}"]
    uv(settings_of(module("pip")), *command, *project, "-", words=requirements)
    return packages(resolved.read_text("utf-8"))


def packages(text: str) -> dict[str, str]:
    """Split requirements into packages, by name: a line that is not indented begins one."""
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
    return {re.split(r"[=\[]", block)[0]: block for block in blocks if block}


def lines_of(parts: tuple[str, ...]) -> str:
    """Return the lines of requirements.lock that belong to `parts`."""
    split = re.split(r"^# --- (\w+) ---\n", LOCK.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return "".join(split[at + 1] for at in range(0, len(split), 2) if split[at] in parts)


# --- .venv ------------------------------------------------------------------------------------


def install(parts: tuple[str, ...]) -> None:
    """Make `.venv` hold these parts of requirements.lock and the project; at once if it does.

    When anything that it depends on has changed, it is made anew from the caches.
    """
    with Path(__file__).open("rb") as this_file:
        if fcntl:  # so that two runs that start together install one after the other
            fcntl.flock(this_file, fcntl.LOCK_EX)
        present = installed_parts()
        if set(present).issuperset(parts):
            return
        wanted = tuple(part for part in PARTS if part in {*present, *parts})
        print(f"installing {', '.join(wanted)}; this may take a minute", flush=True)
        pip = module("pip") if present else make_venv()
        MARKER.unlink(missing_ok=True)
        fill(pip, wanted)
        MARKER.write_text("\n".join([identity(), *wanted]), "utf-8")


def fill(pip: list[str], parts: tuple[str, ...]) -> None:
    """Let pip install the uv that requirements.lock names, and uv the parts and the project."""
    wanted = VENV / "requirements.txt"
    wanted.write_text(lines_of(("installer",)), "utf-8")
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check")
    if run([*pip, "install", *quiet, "--no-deps", "--require-hashes", "-r", str(wanted)]) != 0:
        raise SetupError("pip could not install what requirements.lock names; see above")
    wanted.write_text(lines_of(parts), "utf-8")
    settings = settings_of(pip)
    uv(settings, "sync", "--require-hashes", str(wanted))
    if parts == ("installer",):
        return
    # Without its cache, which knows this folder by the name that it had before.
    own = ("--no-deps", "--no-build-isolation", "--no-cache", "--editable", str(ROOT))
    uv(settings, "install", *own)


def installed_parts() -> list[str]:
    """Return the installed parts; none if what an installation depends on has changed."""
    lines = MARKER.read_text("utf-8").splitlines() if MARKER.exists() else [""]
    return lines[1:] if PYTHON.exists() and lines[0] == identity() else []


def identity() -> str:
    """What an installation depends on: the lock, the project, the place and the Python."""
    digest = hashlib.sha256(LOCK.read_bytes() + PROJECT.read_bytes()).hexdigest()
    return f"{digest} {os.path.realpath(PYTHON)} {ROOT}"


def make_venv() -> list[str]:
    """Make an empty `.venv` and return the command that installs into it."""
    # The Python itself where this one is in the `.venv` that is about to be replaced.
    python = getattr(sys, "_base_executable", sys.executable)
    # Debian ships venv without ensurepip; the system's own pip can fill the environment instead.
    outer_pip = [python, "-m", "pip", "--python", str(PYTHON)]
    for options, pip in (((), module("pip")), (("--without-pip",), outer_pip)):
        shutil.rmtree(VENV, ignore_errors=True)
        made = answers([python, "-m", "venv", *options, str(VENV)], environment())
        if made and answers([*pip, "--version"], environment()):
            return pip
    shutil.rmtree(VENV, ignore_errors=True)
    package = f"python3.{sys.version_info[1]}-venv"
    raise SetupError(
        "this Python cannot make a virtual environment here; if the folder is writable, install "
        f"its venv module (Debian, Ubuntu: apt-get install {package})"
    )


# --- uv, told what pip is told ----------------------------------------------------------------


def settings_of(pip: list[str]) -> dict[str, str]:
    """Return what pip is told by its files and variables, by the names of its options."""
    command = [*pip, "config", "list"]
    listed = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=False).stdout
    found: dict[str, str] = {}
    # In pip's own order: what is said for one command wins over what is said for all.
    for section in ("global", "install", ":env:"):
        options = re.findall(rf"^{section}\.([^=]+)=(.*)$", listed.decode(), re.MULTILINE)
        found.update((option, ast.literal_eval(value)) for option, value in options)
    return found


def uv(settings: dict[str, str], command: str, *arguments: str, words: str = "") -> None:
    """Run a command of `uv pip` for `.venv`, which itself prints what went wrong."""
    program, variables = str(SCRIPTS / "uv"), {**environment(), **variables_of(settings)}
    if not answers([program, "pip", "list", "--python", str(PYTHON)], variables):
        variables["UV_NO_CACHE"] = "1"  # as pip does where the home folder cannot be written to
    call = [program, "pip", command, "--quiet", "--python", str(PYTHON), *arguments]
    call += ["--no-index"] if settings.get("no-index", "0").lower() in TRUE else []
    done = subprocess.run(call, cwd=ROOT, env=variables, input=words.encode(), check=False)
    if done.returncode != 0:
        raise SetupError(f"uv could not {command} what this folder names; see above")


def variables_of(settings: dict[str, str]) -> dict[str, str]:
    """Return the variables that tell uv what pip is told; what uv is told directly stays."""
    # Hashes say what is installed, so that any index may provide it, as for pip.
    told = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_CONFIG": "1", **certificates()}
    for option in settings.keys() & TOLD_TO_UV.keys():
        told.update(dict.fromkeys(TOLD_TO_UV[option], " ".join(settings[option].split())))
    # pip passes over a folder that is not there.
    places = [p for p in told.get("UV_FIND_LINKS", "").split() if "://" in p or (ROOT / p).exists()]
    told["UV_FIND_LINKS"] = ",".join(places)
    own = {name for name in os.environ if name.startswith("UV_")}
    return {name: value for name, value in told.items() if value and name not in own}


def certificates() -> dict[str, str]:
    """Return whom to trust where pip's configuration does not say: as pip does, old or new."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            return {"SSL_CERT_FILE": os.environ[name]}
    # The machine's own, which a new pip trusts too; uv brings its own where there are none.
    places = ssl.get_default_verify_paths()
    has_some = places.cafile or (places.capath and any(Path(places.capath).iterdir()))
    return {"UV_SYSTEM_CERTS": "1"} if has_some or sys.platform in ("darwin", "win32") else {}


# --- processes --------------------------------------------------------------------------------


def use_new_python(arguments: list[str]) -> None:
    """Start again with a Python that is new enough, if this one is not."""
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        program = shutil.which(name)
        if program and answers([program, "--version"], environment()):
            os.execv(program, [program, str(Path(__file__).resolve()), *arguments])
    raise SetupError(
        f"needs Python 3.11 or newer; this is {sys.version.split()[0]}, and no newer one is on PATH"
    )


def environment() -> dict[str, str]:
    """Return this process's variables without those that would misdirect Python, pip or uv."""
    foreign = ("PIP_", "UV_", "PYTHONHOME", "PYTHONPATH")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(foreign) or n.startswith(KEPT)}
    return {**kept, "PIP_USER": "0"}


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with `.venv`'s Python."""
    return [str(PYTHON), "-m", name, *arguments]


def run(command: list[str], title: str = "") -> int:
    """Run a command in the checkout and return its exit code."""
    if title:
        print(f"--- {title}", flush=True)
    return subprocess.call(command, cwd=ROOT, env=environment())


def answers(command: list[str], variables: dict[str, str]) -> bool:
    """Return whether a command can be run and succeeds; nobody sees what it prints."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.call(command, env=variables, **quiet) == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
