"""From a configuration to the things it names: data, network, segments, parties, addresses."""

import copy
import hashlib
import inspect
import sys
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import network
from .auxiliary import Auxiliary, auxiliary_of, fitting
from .config import ATTACK_FIELDS, Experiment, parse
from .data import Dataset, Shares, from_torch, share_out
from .data.shares import ranges
from .defences import PHASES, Chain, Defence, Defended, in_phase
from .described import jsonable, name_of, plain, without_folders
from .errors import ConfigError, said
from .parties import Owner
from .parts import Part, resolve
from .record import address
from .streams import stream
from .victims import Victims, fitting_victims, victims_of
from .wire import FarSide


def load_data(experiment: Experiment, part: Part | None = None) -> Dataset:
    """Read the data set an experiment names, or another one with the same settings.

    Raises:
        ConfigError: it cannot be found or read.
    """
    part = part or experiment.data
    target = resolve("data", part.kind)
    given: dict[str, Any] = {}
    if experiment.data_root and "root" in inspect.signature(target).parameters:
        given["root"] = Path(experiment.data_root)
    try:
        found = target(**given, **part.args)
        return found if isinstance(found, Dataset) else from_torch(found, name=part.kind)
    except Exception as e:  # whatever a user's own code may raise
        raise ConfigError(f"data {part.kind}: {said(e)}") from e


def machine(threads: int, device: torch.device) -> dict[str, Any]:
    """What of this machine decides about the last digits, and so belongs to a run's identity."""
    return {
        "torch": torch.__version__,
        "threads": threads,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "precision": torch.get_float32_matmul_precision(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }


@dataclass
class Assembly:
    """An experiment with its data read; everything else is built from it on demand."""

    experiment: Experiment
    dataset: Dataset
    shares: Shares
    device: torch.device

    @classmethod
    def of(cls, experiment: Experiment, dataset: Dataset | None = None) -> "Assembly":
        """Read, share out, and set the number of threads.

        Raises:
            ConfigError: data, shares or device cannot be had.
        """
        wanted = experiment.device
        if wanted == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device 'cuda': no CUDA device here; use cpu or auto")
        if wanted == "auto":
            wanted = "cuda" if torch.cuda.is_available() else "cpu"
        if experiment.threads:
            torch.set_num_threads(experiment.threads)
        dataset = dataset if dataset is not None else load_data(experiment)
        try:
            dataset, shares = share_out(
                dataset, plan=experiment.shares, owners=experiment.owners, seed=experiment.seed
            )
        except ValueError as e:
            raise ConfigError(f"shares: {e}") from e
        if experiment.keep == "best" and not len(shares.validation):
            raise ConfigError("keep: best is by accuracy on validation: that share is empty")
        if experiment.victims > len(shares.victims):
            raise ConfigError(
                f"victims: at most {len(shares.victims)} wanted, the size of that share: "
                f"got {experiment.victims}"
            )
        if experiment.gallery > len(shares.victims):
            raise ConfigError(
                f"gallery: at most {len(shares.victims)} wanted, the size of the victims' share: "
                f"got {experiment.gallery}"
            )
        return cls(experiment, dataset, shares, torch.device(wanted))

    def variant(self, **changes: Any) -> "Assembly":
        """The same data under another configuration of defence or attack."""
        return replace(self, experiment=replace(self.experiment, **changes))

    def take(self, index: Tensor, source: Dataset | None = None) -> tuple[Tensor, Tensor]:
        """Samples and labels of a share, or of another data set, on the device."""
        x, y = (self.dataset if source is None else source).take(index)
        return x.to(self.device), y.to(self.device)

    @property
    def classes(self) -> int:
        return len(self.dataset.classes)

    @cached_property
    def attacked(self) -> Victims:
        """Whose inputs are attacked.

        Raises:
            ConfigError: they cannot be had, or are not of the shape that the network takes.
        """
        part, elsewhere = self.experiment.victims_from, None
        if part is not None:
            found = load_data(self.experiment, part)
            elsewhere = fitting_victims(found, self.dataset, kind=part.kind)
        return victims_of(self.experiment, self.dataset, self.shares, elsewhere)

    @property
    def victims(self) -> Tensor:
        """Indices of the samples that are attacked, into ``attacked.dataset``."""
        return self.attacked.index

    @cached_property
    def foreign(self) -> Dataset | None:
        """The other data set that the attacker's samples come from, if the experiment names one.

        Raises:
            ConfigError: it cannot be read, or its samples have another shape.
        """
        part = self.experiment.auxiliary
        if part is None:
            return None
        return fitting(load_data(self.experiment, part), self.dataset, kind=part.kind)

    @cached_property
    def auxiliary(self) -> Auxiliary:
        """Which samples the attacker has.

        Raises:
            ConfigError: they cannot be had.
        """
        return auxiliary_of(self.experiment, self.dataset, self.shares, self.foreign, self.attacked)

    def attackers_own(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The attacker's samples and labels: to learn from, and to stop and choose by."""
        own = self.auxiliary
        return self.take(own.learn, own.dataset), self.take(own.stop, own.dataset)

    @cached_property
    def cut_after(self) -> list[str]:
        """The layers to cut after.

        Raises:
            ConfigError: none given, and the model has no customary one.
        """
        return network.cut_after(self.experiment)

    @property
    def adversaries(self) -> tuple[int, ...]:
        """The parties who attack, ascending; all behind the owner unless the experiment says.

        Raises:
            ConfigError: there is no such party.
        """
        parties = range(2, len(self.cut_after) + 2)
        wanted = tuple(sorted(self.experiment.adversaries)) or tuple(parties)
        if strangers := [n for n in wanted if n not in parties]:
            raise ConfigError(
                f"adversaries: parties 2 to {parties[-1]} wanted, the owner is 1 and every cut "
                f"adds one: got {strangers[0]}"
            )
        return wanted

    def segments(self) -> list[nn.Module]:
        """The network, freshly initialised from its stream or from ``weights``, cut.

        Raises:
            ConfigError: the model does not fit the data, the cut or the weights.
        """
        example, _ = self.dataset.take(self.shares.owners[0][:2])
        parts = network.segments(self.experiment, example, self.classes)
        return network.on_device(parts, self.device)

    @property
    def defences_in_training(self) -> tuple[Part, ...]:
        """Those that act while training, and so belong to the trained network."""
        every = self.experiment.defence
        return tuple(p for p in every if _built(p).active != "serve")

    def defence(self, *, training_only: bool = False) -> Chain:
        """The chain of the experiment's defences; only those that act in training, if asked."""
        parts = self.defences_in_training if training_only else self.experiment.defence
        with stream(self.experiment.seed, "defence"):
            return Chain(*map(_built, parts)).to(self.device)

    def plain(self) -> dict[str, Any]:
        """The experiment as JSON values, with what its defaults came to."""
        return plain(self.experiment) | {
            "cut": self.cut_after,
            "epochs": self.experiment.passes,
        }

    def as_trained(self) -> "Assembly":
        """The part of the experiment that the trained network depends on; the rest at defaults."""
        usual = parse({})
        return self.variant(
            defence=self.defences_in_training,
            **{k: getattr(usual, k) for k in ATTACK_FIELDS},
        )

    def message_shapes(self, segments: list[nn.Module]) -> list[tuple[int, ...]]:
        """Shape of one message behind every segment but the last.

        Raises:
            ConfigError: the last does not end in one number for each class.
        """
        example = self.take(self.shares.owners[0][:2])[0]
        return network.message_shapes(self.experiment, segments, example, self.classes)

    def parties(self, segments: list[nn.Module]) -> tuple[list[Owner], FarSide]:
        """Owners with their data, and what is behind the cut: a server, or relays and a server."""
        e, shapes = self.experiment, self.message_shapes(segments)
        far: FarSide | None = None
        for i in range(len(segments) - 1, 0, -1):
            far = network.far_party(e, i, segments[i], shapes[i - 1], far)
        assert far is not None
        owners, chain = [], self.defence(training_only=True)
        for number, index in enumerate(self.shares.owners):
            defended = Defended(
                copy.deepcopy(segments[0]), copy.deepcopy(chain), precision=e.precision
            )
            learn = dict[str, Any](root=e.seed, augment=e.augment)
            own = network.own_optimiser(e, defended)
            owners.append(Owner(number, defended, own, self.take(index), **learn))
        self.try_out(Defended(segments[0], self.defence()))
        return owners, far

    @torch.no_grad()
    def try_out(self, defended: Defended) -> None:
        """Send two samples in each phase: what cannot work fails before anything is trained.

        Raises:
            ConfigError: it raises something, or changes the shape of a message.
        """
        x, _ = self.take(self.shares.owners[0][:2])
        try:
            emissions = []
            for phase in PHASES:
                with stream(self.experiment.seed, "try"), in_phase(defended.defence, phase):
                    emissions.append(defended.eval().emit(x))
        except Exception as error:  # whatever a user's own code may raise
            raise ConfigError(f"defence {name_of(self.experiment)}: {said(error)}") from error
        for z, sent in emissions:
            if sent.shape != z.shape:
                raise ConfigError(
                    f"defence {name_of(self.experiment)}: messages of shape {tuple(z.shape)} "
                    f"wanted as they came: got {tuple(sent.shape)}"
                )

    def network_identity(self) -> dict[str, Any]:
        """Everything that determines the trained network, and nothing else."""
        e = self.experiment
        learns = ("batch_size", "optimiser", "learning_rate", "order", "keep", "precision")
        return {
            "cutlayer": version("cutlayer"),
            "classes": self.classes,
            "code": _code(e.model, *self.defences_in_training),
            "data": self.dataset.checksum,
            "shares": self._shares_address("owners", "validation"),
            "schedule": e.schedule if e.owners > 1 else "hand-over",
            "model": jsonable(asdict(e.model)),
            "cut": self.cut_after,
            "weights": _checksum(Path(e.weights)) if e.weights else None,
            "defence": [jsonable(asdict(p)) for p in self.defences_in_training],
            "epochs": e.passes,
            **{name: getattr(e, name) if e.passes else None for name in learns},
            **({"augment": e.augment} if e.passes and e.augment != "none" else {}),
            **({"halve_every": e.halve_every} if e.passes and e.halve_every else {}),
            "seed": e.seed,
            "machine": machine(torch.get_num_threads(), self.device),
        }

    @cached_property
    def network_run(self) -> str:
        """The id of the run that trains the network."""
        return f"train-{address(self.network_identity())}"

    @cached_property
    def judge_run(self) -> str:
        """The id of the run that trains the judge.

        "none" where its share is empty, or the victims are of no class that it could read.
        """
        if not len(self.shares.judge) or self.experiment.victims_from is not None:
            return "none"
        return f"judge-{address(self.judge_identity())}"

    @cached_property
    def attack_run(self) -> str:
        """The id of the attack's run."""
        return f"attack-{address(self.attack_identity())}"

    def attack_identity(self) -> dict[str, Any]:
        """Everything that determines the outcome of the attack."""
        e = self.experiment
        return {
            "network": self.network_run,
            "judge": self.judge_run,
            "shares": self._shares_address("auxiliary", "attacker_validation", "judge", "victims"),
            "defence": [jsonable(asdict(p)) for p in e.defence],
            "code": _code(e.attack, *e.defence),
            "threat": e.threat,
            "attack": jsonable(asdict(e.attack)),
            "auxiliary": self.foreign.checksum if self.foreign else None,
            "auxiliary_samples": e.auxiliary_samples,
            "repeats": e.repeats,
            "victims": len(self.victims),
            "seed": e.seed,
            **({"attack_seed": e.attack_root} if e.attack_root != e.seed else {}),
            **({"adversaries": list(self.adversaries)} if e.adversaries else {}),
            **({"gallery": e.gallery} if e.gallery > len(self.victims) else {}),
            **({"auxiliary_share": "owners"} if e.auxiliary_share == "owners" else {}),
            **({"victims_from": self.attacked.identity()} if e.victims_from else {}),
        }

    def judge_identity(self) -> dict[str, Any]:
        """Everything that determines the judge."""
        return {
            "cutlayer": version("cutlayer"),
            "data": self.dataset.checksum,
            "classes": self.classes,
            "judge": self._shares_address("judge"),
            "seed": self.experiment.seed,
            "machine": machine(torch.get_num_threads(), self.device),
        }

    def _shares_address(self, *names: str) -> str:
        shares = self.shares.to_dict()
        bounds = [t.tolist() for t in self.dataset.bounds or ()]
        return address({"bounds": bounds, **{n: shares[n] for n in names}})

    def described_data(self) -> dict[str, Any]:
        """For the record: what was read, how it was divided and scaled."""
        bounds = self.dataset.bounds
        held, where = dict(self.shares), self.shares.to_dict()
        counts = {name: len(index) for name, index in held.items() if "[" not in name}
        counts["owners"] = len(self.shares.train)
        return {
            "name": self.dataset.name,
            "checksum": self.dataset.checksum,
            "shape": list(self.dataset.shape),
            "classes": list(self.dataset.classes),
            "samples": len(self.dataset),
            "source": without_folders(jsonable(dict(self.dataset.source))),
            "scaling": None if bounds is None else [t.tolist() for t in bounds],
            "shares": {n: {"count": counts[n], "ranges": r} for n, r in where.items()},
        }

    def described_attacked(self) -> dict[str, Any]:
        """The same, and of another data set that the victims come from."""
        here, whose = self.described_data(), self.attacked
        if whose.known_kind:
            return here
        taken = {"count": len(whose.index), "ranges": ranges(whose.index)}
        shares = here["shares"] | {"victims": taken | {"of": whose.dataset.name}}
        return here | {"victims_from": whose.described(), "shares": shares}


def _built(part: Part) -> Defence:
    built: Defence = resolve("defence", part.kind)(**part.args)
    return built


def _code(*parts: Part) -> dict[str, str]:
    """SHA-256 of the source of every class of the user's own: edited code is another experiment."""
    found = {}
    for part in parts:
        if ":" in part.kind:
            source = inspect.getsource(sys.modules[part.kind.partition(":")[0]])
            found[part.kind] = hashlib.sha256(source.encode()).hexdigest()
    return found


def _checksum(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        raise ConfigError(f"weights {path}: cannot read: {e.strerror or e}") from e
