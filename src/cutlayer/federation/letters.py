"""What owners write to one another and to users, through a server that cannot read it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..wire import At
from ..wire.identity import Credentials, Identity
from ..wire.letters import LetterError, checked, seal, unseal
from ..wire.mailbox import certificate_of, letter_of, start_of
from ..wire.message import bytes_tensor, tensor_bytes
from ..wire.remote import RemoteFarSide
from .file import Federation

_ABOUT = "about"  # JSON, beside the tensors


@dataclass
class Correspondence:
    """An owner's letters.

    Args:
        number: This owner's.
        without: Numbers of certificates that were taken back.
    """

    federation: Federation
    number: int
    credentials: Credentials
    far: RemoteFarSide
    without: frozenset[int] = frozenset()

    def leave(self, epoch: int, step: int, state: Mapping[str, Tensor], samples: int) -> None:
        """What this owner has at the end of an epoch, for the other owners."""
        self._post(letter_of(self.number, epoch), epoch, step, state, {"samples": samples})

    def leave_start(self, state: Mapping[str, Tensor]) -> None:
        """What all owners start from."""
        self._post(start_of(self.number), 0, 0, state, {})

    def leave_final(self, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> list[str]:
        """What is served from now on, for owners and users; the names of who can read it."""
        f, epochs = self.federation, self.federation.experiment.passes
        users = [Identity(f.federation, "user", name) for name in f.users]
        present = [user for user in users if self._look(certificate_of(user)) is not None]
        subject = f"final/{self.number}"
        self._post(subject, epochs, 0, state, about, also=present)
        return [user.name for user in present]

    def take(
        self, owner: int, epoch: int, *, here: int
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What another owner left at the end of an epoch; waits for it.

        Args:
            here: The epoch that this owner is in.

        Raises:
            LetterError: it is not from that owner, or not for this one.
        """
        return self._opened(letter_of(owner, epoch), owner, here)

    def starter(self) -> int:
        """Whose segment all start from, where they work side by side; waits for all to come."""
        return int(json.loads(self.far.fetch(self._at(0, 0), "starter")))

    def take_start(self, starter: int) -> dict[str, Tensor]:
        """What all owners start from."""
        return self._opened(start_of(starter), starter, 0)[0]

    def giver(self, epoch: int) -> tuple[int, int] | None:
        """In this owner's turn: whose segment it takes over, and of which epoch."""
        found = json.loads(self.far.fetch(self._at(epoch, 0), "giver"))
        return None if found is None else (int(found[0]), int(found[1]))

    def participants(self, epoch: int) -> list[int]:
        """Who took part in an epoch that is over."""
        return [int(n) for n in json.loads(self.far.fetch(self._at(epoch, 0), "participants"))]

    def _post(
        self,
        subject: str,
        epoch: int,
        step: int,
        state: Mapping[str, Tensor],
        about: Mapping[str, Any],
        also: Iterable[Identity] = (),
    ) -> None:
        f = self.federation
        owners = [f.owner(n) for n in range(len(f.owners)) if n != self.number]
        known = [o for o in owners if self._look(certificate_of(o)) is not None]
        readers = [self._certificate(party) for party in (*known, *also)]
        readers.append(self.credentials.certificate)  # it may have to go back to its own
        content = packed(state, about)
        letter = seal(content, self.credentials, readers, subject=self._subject(subject))
        self.far.post(self._at(epoch, step), subject, letter)

    def _opened(
        self, subject: str, owner: int, here: int
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        letter = self.far.fetch(self._at(here, 0), subject)
        sender = self.federation.owner(owner)
        full = self._subject(subject)
        content = unseal(
            letter, self.credentials, sender=sender, subject=full, without=self.without
        )
        return unpacked(content)

    def _certificate(self, party: Identity) -> bytes:
        found = self._look(certificate_of(party)) or b""
        checked(found, self.credentials.authority, expected=party, without=self.without)
        return found

    def _look(self, subject: str) -> bytes | None:
        return self.far.look_up(subject)

    def _subject(self, subject: str) -> str:
        return f"{self.federation.identity}/{subject}"

    def _at(self, epoch: int, step: int) -> At:
        return At(self.federation.agreed, self.number, epoch, step)


def final_letter(
    f: Federation, reader: Credentials, far: RemoteFarSide, without: frozenset[int]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What the owners left for a user.

    Raises:
        LetterError: there is none, or none that this user may read.
    """
    said = ["no owner has left the trained segment yet"]
    for number in range(len(f.owners)):
        letter = far.look_up(f"final/{number}")
        if letter is None:
            continue
        subject = f"{f.identity}/final/{number}"
        try:
            sender = f.owner(number)
            found = unseal(letter, reader, sender=sender, subject=subject, without=without)
            return unpacked(found)
        except LetterError as e:
            said.append(f"{f.owners[number]}: {e}")
    raise LetterError(
        f"a letter with the trained segment wanted: {'; '.join(said)}; an owner writes one with "
        "'cutlayer admit'"
    )


def packed(state: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """Tensors and a few facts as bytes."""
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    plain[_ABOUT] = bytes_tensor(json.dumps(dict(about)).encode())
    return safetensors.torch.save(plain)


def unpacked(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of ``packed``.

    Raises:
        LetterError: it is something else.
    """
    try:
        found = safetensors.torch.load(content)
        about = json.loads(tensor_bytes(found.pop(_ABOUT)))
    except (SafetensorError, KeyError, ValueError) as e:
        raise LetterError(f"a letter with tensors wanted: {e}") from e
    if not isinstance(about, dict) or not all(_finite(t) for t in found.values()):
        raise LetterError("a letter with finite tensors wanted")
    return found, about


def _finite(t: Tensor) -> bool:
    return not t.is_floating_point() or bool(torch.isfinite(t).all())


def samples_of(letters: Sequence[Mapping[str, Any]]) -> list[int]:
    """How many samples each was trained on.

    Raises:
        LetterError: one does not say.
    """
    found = [about.get("samples") for about in letters]
    if not all(isinstance(n, int) and n > 0 for n in found):
        raise LetterError(f"a number of samples wanted in each letter: got {found}")
    return [int(n) for n in found if n]
