"""What dev.py and an old pip make of requirements.lock: installed, but offline and on the side.

Packages are stand-ins with the metadata of those that are installed here, so that nothing depends
on what an index holds today. The old pip itself has to be fetched once.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
# The oldest that a Python 3.11 comes with: what ensurepip of 3.11.0 holds.
OLDEST_PIP = "pip==22.3"
OLDEST_PIP_SHA256 = "1daab4b8d3b97d1d763caeb01a4640a2250a0ea899e257b1e44b9eded91e15ab"
NEWER = "99999.0"
TRUSTED = {
    name: os.environ[name] for name in ("SSL_CERT_DIR", "SSL_CERT_FILE") if name in os.environ
}
"""Whom the machine trusts, as it was before the tests began to trust nobody."""
PINNED = re.compile(r"^([a-z0-9-]+)(?:\[[a-z0-9,]+\])?==([^\s;]+)", re.MULTILINE)


def stand_in(folder: Path, name: str, version: str, metadata: str) -> str:
    """Write a wheel that holds nothing but metadata, and return its hash."""
    wheel = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    inside = f"{name.replace('-', '_')}-{version}.dist-info"
    tag = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{inside}/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{inside}/METADATA", metadata)
        archive.writestr(f"{inside}/WHEEL", tag)
        archive.writestr(f"{inside}/RECORD", record)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def wanted_stand_in(folder: Path, digest: str = "") -> str:
    """Write a stand-in, and a file that asks for it by its hash or by another."""
    metadata = "Metadata-Version: 2.1\nName: stand-in\nVersion: 1.2\n"
    digest = digest or stand_in(folder, "stand-in", "1.2", metadata)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"stand-in==1.2 --hash=sha256:{digest}\n")
    return str(wanted)


def lock_of_stand_ins(folder: Path) -> Path:
    """Write requirements.lock with the hashes of stand-ins instead of its own.

    Of each package there is a newer release as well, which an index may have any day.
    """
    lines: list[str] = []
    for line in LOCK.read_text("utf-8").splitlines():
        if match := PINNED.match(line):
            try:
                package = importlib.metadata.distribution(match[1])
            except importlib.metadata.PackageNotFoundError:
                # Another platform's.
                lines.append(line.replace(" \\", f" --hash=sha256:{'0' * 64}"))
                continue
            assert package.version == match[2]
            metadata = cast("str", package.read_text("METADATA"))
            assert f"\nVersion: {match[2]}\n" in metadata
            digest = stand_in(folder, match[1], match[2], metadata)
            stand_in(
                folder,
                match[1],
                NEWER,
                metadata.replace(f"\nVersion: {match[2]}", f"\nVersion: {NEWER}", 1),
            )
            lines.append(line.replace(" \\", f" --hash=sha256:{digest}"))
    path = folder / "requirements.lock"
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Load dev.py, to install into an empty environment by the uv that is installed here."""
    module = importlib.reload(importlib.import_module("dev"))
    bare = tmp_path / "bare"
    venv.create(bare, symlinks=os.name == "posix")
    monkeypatch.setattr(
        module,
        "PYTHON",
        bare / Path(cast("str", module.PYTHON)).relative_to(cast("Path", module.VENV)),
    )
    monkeypatch.setattr(module, "SCRIPTS", Path(sys.executable).parent)
    return module


def installed(dev: ModuleType) -> list[str]:
    found = cast("Path", dev.PYTHON).parents[1].glob("lib/python*/site-packages/*.dist-info")
    return sorted(folder.name for folder in found)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason=f"{OLDEST_PIP} came with Python 3.11")
def test_the_oldest_pip_finds_the_whole_lock_and_nothing_else_to_resolve(
    dev: ModuleType, tmp_path: Path
) -> None:
    old_pip = tmp_path / "old-pip"
    wanted = tmp_path / "pip.txt"
    wanted.write_text(f"{OLDEST_PIP} --hash=sha256:{OLDEST_PIP_SHA256}\n")
    fetch = (str(dev.SCRIPTS / "uv"), "pip", "install", "--quiet", "--target", str(old_pip))
    fetched = subprocess.run(
        [*fetch, "--require-hashes", "-r", str(wanted)],
        env={**os.environ, **cast("dict[str, str]", dev.variables_of({})), **TRUSTED},
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode != 0:
        pytest.skip(f"{OLDEST_PIP} cannot be fetched: {fetched.stderr.strip()}")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    lock = lock_of_stand_ins(wheels)
    dry = subprocess.run(
        [
            *(sys.executable, str(old_pip / "pip"), "--isolated", "install", "--dry-run"),
            *("--ignore-installed", "--require-hashes", "--no-index", "--quiet"),
            *("--find-links", str(wheels), "-r", str(lock)),
        ],
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert dry.returncode == 0, dry.stderr


def test_packages_come_from_where_pips_configuration_says(dev: ModuleType, tmp_path: Path) -> None:
    wanted = wanted_stand_in(tmp_path)
    absent = tmp_path / "absent"
    settings = {"no-index": "true", "find-links": f"\n{absent}\n{tmp_path}"}
    dev.uv(settings, "sync", "--require-hashes", wanted)
    assert installed(dev) == ["stand_in-1.2.dist-info"]


def test_a_package_with_another_hash_is_not_installed(dev: ModuleType, tmp_path: Path) -> None:
    wanted_stand_in(tmp_path)
    wanted = wanted_stand_in(tmp_path, digest="0" * 64)
    settings = {"no-index": "1", "find-links": str(tmp_path)}
    with pytest.raises(dev.SetupError):
        dev.uv(settings, "sync", "--require-hashes", wanted)
    assert installed(dev) == []


LISTED = """\
:env:.find-links='wheels'
global.cert='/certificates/company.pem'
global.extra-index-url='https://one.example/simple\\nhttps://two.example/simple'
global.find-links='elsewhere'
global.index-url='https://all.example/simple'
global.proxy='http://proxy.example:3128'
freeze.timeout='1'
install.index-url='https://user:pa%23ss@install.example/simple'
install.trusted-host='one.example two.example:8443'
"""


def test_uv_gets_the_settings_of_pip(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    pip = [sys.executable, "-c", f"print({LISTED!r})"]
    settings = cast("dict[str, str]", dev.settings_of(pip))
    assert dev.variables_of(settings) == {
        "SSL_CERT_FILE": "/certificates/company.pem",
        "UV_DEFAULT_INDEX": "https://user:pa%23ss@install.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "one.example two.example:8443",
        "UV_NO_CONFIG": "1",
        **dict.fromkeys(cast("tuple[str, ...]", dev.PROXIES), "http://proxy.example:3128"),
    }


def test_settings_of_uv_itself_win(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    told = dev.variables_of({"index-url": "https://pip.example/simple", "no-cache-dir": "yes"})
    assert "UV_DEFAULT_INDEX" not in told
    assert told["UV_NO_CACHE"] == "yes"
    assert dev.environment()["UV_DEFAULT_INDEX"] == "https://own.example/simple"


def test_certificates_of_the_company_are_trusted_wherever_pip_would_find_them(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert dev.certificates().keys() <= {"UV_SYSTEM_CERTS"}
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/certificates/company.pem")
    assert dev.variables_of({})["SSL_CERT_FILE"] == "/certificates/company.pem"


def test_a_home_folder_that_cannot_be_written_to_is_no_hindrance(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "file" / "cache"))
    wanted = wanted_stand_in(tmp_path)
    dev.uv({"no-index": "1", "find-links": str(tmp_path)}, "sync", wanted)
    assert installed(dev) == ["stand_in-1.2.dist-info"]
