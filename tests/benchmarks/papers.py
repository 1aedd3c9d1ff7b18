"""Makes the papers' table: `python -m tests.benchmarks.papers --mnist DIR`; the same as `edge-build papers`."""

from __future__ import annotations

import sys

from build_tools.cli import main

if __name__ == "__main__":
    sys.exit(main(["papers", *sys.argv[1:]]))
