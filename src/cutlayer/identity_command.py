"""``cutlayer identity``: an authority for a federation, and certificates for its parties."""

import argparse
import json
from datetime import timedelta
from pathlib import Path

from .wire.identity import Authority, Credentials, Identity, when, who


def identity_create(arguments: argparse.Namespace) -> int:
    """A new authority."""
    authority = Authority.create(arguments.authority, arguments.federation)
    print(f"authority of {authority.federation}: {arguments.authority}")
    print("authority.key.pem signs for everybody: keep it offline, give it to nobody")
    return 0


def identity_issue(arguments: argparse.Namespace) -> int:
    """A key and a certificate for one party."""
    out: Path = arguments.out or Path(arguments.name)
    identity = Authority(arguments.authority).issue(
        arguments.role,
        arguments.name,
        out,
        addresses=arguments.address,
        life=timedelta(days=arguments.days),
    )
    print(f"{identity}: {out}, in force until {_until(out)}")
    print("the folder goes to that party alone, over a channel you trust")
    return 0


def identity_revoke(arguments: argparse.Namespace) -> int:
    """Take a certificate back."""
    content = arguments.certificate.read_bytes()
    identity: Identity = who(content)
    authority = Authority(arguments.authority)
    authority.revoke(content)
    print(f"revoked {identity}: give {authority.folder / 'revoked.json'} to everybody who listens")
    return 0


def identity_sign(arguments: argparse.Namespace) -> int:
    """Sign a policy."""
    from .policy import sign

    credentials = Credentials.load(arguments.identity)
    signed = sign(arguments.policy, credentials)
    for name, value in signed.plain().items():
        print(f"{name}: {json.dumps(value)}")
    until = _until(arguments.identity)
    print(f"signed by {who(credentials.certificate)}; the signature holds until {until}")
    return 0


def _until(folder: Path) -> str:
    _, end = when((folder / "certificate.pem").read_bytes())
    return f"{end:%Y-%m-%d}"
