"""What a server keeps for others: sealed letters, and the certificates of who was there."""

import re
import uuid
from pathlib import Path

from .identity import Identity

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")


class Mailbox:
    """Files by subject. Letters are ciphertext: whoever holds the mailbox cannot read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shown: dict[Identity, bytes] = {}  # last, by party

    def keep(self, subject: str, content: bytes) -> None:
        """Put it there, in place of what was there under that subject.

        Raises:
            ValueError: a subject that is none.
            OSError: the disk is full, or cannot be written.
        """
        path = self._path(subject)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        aside.write_bytes(content)
        aside.replace(path)

    def find(self, subject: str) -> bytes | None:
        """What is there under that subject."""
        path = self._path(subject)
        return path.read_bytes() if path.is_file() else None

    def drop(self, subject: str) -> None:
        """Forget it."""
        self._path(subject).unlink(missing_ok=True)

    def introduce(self, party: Identity, certificate: bytes) -> None:
        """Remember the certificate that a party showed."""
        subject = certificate_of(party)
        if self._shown.get(party) != certificate and self.find(subject) != certificate:
            self.keep(subject, certificate)
        self._shown[party] = certificate

    def _path(self, subject: str) -> Path:
        parts = subject.split("/")
        if len(parts) > 4 or not all(_NAME.fullmatch(part) for part in parts):
            raise ValueError(f"subject of small letters, digits, '-', '/' wanted: got {subject!r}")
        return self.folder.joinpath(*parts)


def certificate_of(party: Identity) -> str:
    """The subject under which a party's certificate is kept."""
    return f"certificate/{party.role}/{party.name}"


def start_of(owner: int) -> str:
    """The subject of what all owners start from, as one of them left it."""
    return f"start/{owner}"


def letter_of(owner: int, epoch: int) -> str:
    """The subject of what an owner leaves at the end of an epoch."""
    return f"letter/{owner}/{epoch}"
