"""`python -m tokenbalance.cli`, where the command is not on the path."""

from __future__ import annotations

import sys

from tokenbalance.cli import main

sys.exit(main())
