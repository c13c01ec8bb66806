"""From a federation's file to the parties it names, as one process or each its own builds them."""

import copy
import hmac
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import network
from ..assembly import load_data
from ..config import parse
from ..data import Dataset
from ..defences import Chain, Defended
from ..draws import LEAST
from ..errors import ConfigError
from ..parties import Owner, Relay, Server, check_weights
from ..parts import Part, resolve
from ..streams import stream
from ..tensor_file import load_tensors
from ..training import Plan
from ..wire import FarSide
from ..wire.labels import LabelsHere
from .file import Federation

MOST_PARAMETERS = 500_000_000
_MARK = "segment."  # of an owner's segment beside its defences


def plan_of(f: Federation) -> Plan:
    """What is trained for how long."""
    e = f.experiment
    return Plan(
        session=f.agreed,
        epochs=e.passes,
        batch_size=e.batch_size,
        schedule=e.schedule,
        order=e.order,
    )


def segments(f: Federation, root: int) -> list[nn.Module]:
    """The network cut, freshly initialised from a root.

    Raises:
        ConfigError: the network does not fit the inputs or the cut.
    """
    _check_size(f)
    example = torch.zeros(2, *f.input_shape)
    found = network.segments(replace(f.experiment, seed=root), example, f.outputs)
    return network.on_device(found, torch.device("cpu"))


def _check_size(f: Federation) -> None:
    """Refuse a network that would fill the memory: another party's file asks for it.

    Raises:
        ConfigError: it cannot be built, or is too large.
    """
    with torch.device("meta"):  # shapes alone
        model = network.bare_model(f.experiment, f.input_shape, f.outputs)
    count = sum(p.numel() for p in model.parameters())
    if count > MOST_PARAMETERS:
        raise ConfigError(
            f"model {f.experiment.model}: at most {MOST_PARAMETERS:,} parameters wanted: got "
            f"{count:,}"
        )


def far_party(f: Federation, place: int, behind: FarSide | None = None) -> Server | Relay:
    """The server, or a relay, by its place in the chain."""
    e, parts = f.experiment, segments(f, f.experiment.seed)
    shapes = network.message_shapes(e, parts, torch.zeros(2, *f.input_shape), f.outputs)
    return network.far_party(e, place + 1, parts[place + 1], shapes[place], behind)


def whole_chain(f: Federation) -> FarSide:
    """Everybody behind the owners, in this process."""
    far: FarSide | None = None
    for place in reversed(range(len(f.chain))):
        far = far_party(f, place, far)
    assert far is not None
    return as_labels_are(f, far)


def give_weights(segment: nn.Module, path: Path) -> None:
    """Put weights from a file into a segment: an audited one, or what ``join`` wrote.

    Raises:
        ConfigError: no such file, weights of another segment, or some that are not finite.
    """
    try:
        found = load_tensors(path)
    except (OSError, ValueError) as e:
        said = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise ConfigError(f"weights {path}: cannot read: {said}") from e
    if all(name.startswith(_MARK) for name in found):
        found = {name.removeprefix(_MARK): t for name, t in found.items()}
    try:
        check_weights(segment, found, source=f"weights {path}")
    except ValueError as e:
        raise ConfigError(f"{e}; this party's segment alone is wanted") from e
    if not all(bool(torch.isfinite(t).all()) for t in found.values()):
        raise ConfigError(f"weights {path}: finite values wanted: got NaN or infinity")
    segment.load_state_dict(found)


def as_labels_are(f: Federation, far: FarSide) -> FarSide:
    """The far side as an owner talks to it, with its labels or without."""
    return LabelsHere(far) if f.labels == "owner" else far


def own_secret(path: Path) -> bytes:
    """An owner's secret: drawn from the operating system once, then read.

    Raises:
        ConfigError: the file is none, or cannot be made.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(os.urandom(LEAST))
        found = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"secret {path}: cannot be kept: {e.strerror}") from e
    if len(found) < LEAST:
        raise ConfigError(f"secret {path}: {LEAST} bytes wanted: got {len(found)}")
    return found


def root_of(secret: bytes) -> int:
    """Root of an owner's random streams: data order, its segment's first weights."""
    digest = hmac.digest(secret, b"cutlayer.federation root", "sha256")
    return int.from_bytes(digest[:8], "little") >> 1


def owner(
    f: Federation,
    number: int,
    data: tuple[Tensor, Tensor],
    defence: Sequence[Part],
    secret: bytes,
) -> Owner:
    """An owner with its data, its own defences and its own secret.

    Raises:
        ConfigError: a defence that cannot act here.
    """
    e, root = f.experiment, root_of(secret)
    defended = Defended(segments(f, root)[0], chain_of(defence, root), precision=e.precision)
    own = network.own_optimiser(e, defended)
    # Another defence draws from another secret: under two strengths of one noise it is solved for.
    kinds = "\n".join(map(str, defence)).encode()
    drawn = hmac.digest(secret, b"cutlayer.federation defence " + kinds, "sha256")
    return Owner(number, defended, own, data, root=root, secret=drawn)


def chain_of(defence: Sequence[Part], root: int) -> Chain:
    """An owner's defences, built.

    Raises:
        ConfigError: one of them acts on released confidences.
    """
    with stream(root, "defence"):
        built = [resolve("defence", part.kind)(**part.args) for part in defence]
    if late := [p.kind for p, d in zip(defence, built, strict=True) if d.site == "output"]:
        raise ConfigError(f"defence {late[0]}: one at the input or the cut wanted: it acts later")
    return Chain(*built)


def together(owners: Sequence[Owner]) -> None:
    """Let all owners start from the first one's segment, as they do over a network."""
    first = copy.deepcopy(owners[0].module.state_dict())
    for other in owners[1:]:
        other.module.load_state_dict(first)


def data_of(f: Federation, part: str, root: str | None) -> Dataset:
    """An owner's or a user's own data, in the bounds that the federation has.

    Raises:
        ConfigError: it cannot be read, has another shape, or nobody says its bounds.
    """
    found = load_data(parse({"data": part, "data_root": root}))
    if found.shape != f.input_shape:
        raise ConfigError(f"data: samples of shape {f.input_shape} wanted: got {found.shape}")
    if len(found.classes) > f.outputs:
        raise ConfigError(f"data: at most {f.outputs} classes wanted: got {len(found.classes)}")
    if f.bounds is not None:
        return found.with_bounds(*(torch.tensor(float(b)) for b in f.bounds))
    if found.bounds is None:
        raise ConfigError(
            "bounds: [LOW, HIGH] in the federation's file wanted, so that all owners scale alike: "
            "this data set declares none"
        )
    return found
