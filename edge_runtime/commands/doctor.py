"""`edge-runtime doctor`: whether the shipped models compute on this machine what they did where they were made."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.bench import reference
from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.shipped import shipped

EPILOG = """\
Exit code: 0 all is well, 4 a model's file cannot be used, 1 a model answers otherwise here than where it was made.
"""


def run(arguments: Sequence[str]) -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(
        prog="edge-runtime doctor", description="Check that models compute here what they should.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--reference", type=Path, metavar="FILE", help="other models' answers (edge-build reference)")
    parser.add_argument("--json", action="store_true", help="for machines")
    args = parser.parse_args(arguments)
    file = args.reference or shipped(reference.FILE)
    worst, rows = 0, []
    for name, there in reference.read(file).items():
        began = time.monotonic()
        row: dict[str, object] = {"model": name, "ok": True}
        try:
            apart = reference.check(str(file.parent / name), there)
        except (BundleError, InferenceError) as error:
            worst = max(worst, error.exit_code)
            row |= {"ok": False, "error": str(error)}
        else:
            row |= {"difference": apart, "seconds": round(time.monotonic() - began, 2)}
        rows.append(row)
        if not args.json:
            _tell(row)
    if args.json:
        print(json.dumps({"ok": worst == 0, "models": rows}, indent=1))
    return worst


def _tell(row: dict[str, object]) -> None:
    if row["ok"]:
        print(f"{row['model']:<24} as it should be, to {row['difference']:.1g} of its answers' spread", flush=True)
    else:
        print(f"edge-runtime: {row['error']}", file=sys.stderr, flush=True)
