"""`edge-build keygen`, `sign` and `verify`: who made a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands and their arguments."""
    keygen = commands.add_parser("keygen", help="a new pair of keys to sign bundles with")
    keygen.add_argument("out", type=Path, help="file of the private key; the public one is written to OUT.pub")
    keygen.set_defaults(run=run_keygen)
    sign = commands.add_parser("sign", help="sign a bundle")
    sign.add_argument("model", type=Path, help=".edge bundle; changed in place")
    sign.add_argument("--key", type=Path, required=True, help="private key")
    sign.set_defaults(run=run_sign)
    verify = commands.add_parser("verify", help="check a bundle's digests and who signed it")
    verify.add_argument("model", type=Path, help=".edge bundle")
    verify.add_argument("--key", type=Path, required=True, help="public key")
    verify.set_defaults(run=run_verify)


def run_keygen(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.bundle.signing import generate_keys

    public = generate_keys(args.out)
    print(f"{args.out}: keep it secret; {public}: for everyone who checks your bundles (edge-build verify --key)")
    return 0


def run_sign(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from build_tools.bundle.signing import read_private_key, sign_bundle

    sign_bundle(args.model, read_private_key(args.key))
    print(f"{args.model}: signed, {args.model.stat().st_size:,} bytes")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Run it; the exit code: 0 signed with the key, 4 not."""
    from edge_runtime.bundle.reader import open_bundle
    from edge_runtime.bundle.signature import read_public_key

    open_bundle(args.model, read_public_key(args.key)).weights()
    print(f"{args.model}: whole, and signed with the key of {args.key}")
    return 0
