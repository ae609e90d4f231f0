"""The interpreter of a build: its version, who built it, and whether with optimisations.

The same code takes a tenth more or less with another build of the same version.
"""

from __future__ import annotations

import functools
import json
import subprocess
from typing import Final

_LIMIT_S: Final = 30.0
_ASK: Final = """
import json, os, platform, sys, sysconfig
wanted = "CONFIG_ARGS", "prefix", "PY_CFLAGS", "PY_LDFLAGS"
system = ""
if os.path.exists("/etc/os-release"):
    system = platform.freedesktop_os_release().get("NAME", "").split()[0]
print(json.dumps({
    "version": platform.python_version(),
    "real": os.path.realpath(sys.executable),
    "system": system,
    "config": [str(sysconfig.get_config_var(name) or "") for name in wanted],
}))
"""
_BUILDERS: Final = (
    # The beginning of an interpreter's path, or a part of it; who builds those.
    ("/.pyenv/", "pyenv"),
    ("/uv/python/", "python-build-standalone"),
    ("/usr/local/", "the image of Docker Hub, or by hand"),
)


@functools.cache
def interpreter_of(python: str) -> str:
    """Describe an interpreter in a few words."""
    asked = subprocess.run(  # noqa: S603 - an interpreter that was given to be started
        [python, "-c", _ASK], capture_output=True, check=True, text=True, timeout=_LIMIT_S
    )
    found = json.loads(asked.stdout)
    config = " ".join(found["config"])
    real = str(found["real"])
    builder = next((name for part, name in _BUILDERS if part in real), "")
    if not builder and real.startswith("/usr/bin/"):
        # Distributions optimise in a build step of their own, which the configuration omits.
        return f"Python {found['version']} of {found['system']} (optimised by its packagers)"
    return f"Python {found['version']} built by {builder or 'hand'} ({_optimisations(config)})"


def _optimisations(config: str) -> str:
    kinds = {"--enable-optimizations": "PGO", "--with-lto": "LTO", "-flto": "LTO"}
    found = sorted({kind for option, kind in kinds.items() if option in config}, reverse=True)
    return f"with {' and '.join(found)}" if found else "without PGO and LTO"
