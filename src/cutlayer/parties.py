"""The parties of a split network: owner, computation server, and relays between them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

from .augmentation import Augment, augmented, check_augment
from .defences import Defended, in_phase
from .draws import check_secret, drawn_from
from .errors import did_you_mean
from .precision import Precision, run
from .streams import generator, stream
from .tensor_file import load_tensors, save_tensors
from .wire import At, FarSide, StepResult

OPTIMISERS: tuple[str, ...] = ("adam", "sgd", "amsgrad")


def optimiser(
    name: str, module: nn.Module, learning_rate: float, *, halve_every: int = 0
) -> Optimizer | None:
    """A party's own optimiser; ``None`` for a party that has nothing to learn.

    "amsgrad" is what the code of He et al. (2019) trains with: Adam with AMSGrad and eps 1e-3.

    Args:
        halve_every: Epochs after which ``Party.update`` halves the learning rate; 0: never.

    Raises:
        ValueError: no such optimiser, a learning rate that is not positive, a negative count.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"optimiser {name!r}: unknown{did_you_mean(name, OPTIMISERS)}")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning rate must be > 0: got {learning_rate}")
    if halve_every < 0:
        raise ValueError(f"halve_every must be >= 0 epochs, 0 for never: got {halve_every}")
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        return None
    group: dict[str, Any] = {"params": parameters}
    if halve_every:
        group |= {"first_rate": learning_rate, "halve_every": halve_every}
    if name == "sgd":
        return SGD([group], learning_rate)
    if name == "amsgrad":
        return Adam([group], learning_rate, eps=1e-3, amsgrad=True, fused=True)
    return Adam([group], learning_rate, fused=True)


def set_rate(optimiser: Optimizer, epoch: int) -> None:
    """The learning rate of that epoch.

    It follows from the epoch alone: a training that is resumed, and a party across a network,
    need nothing more to have the same.
    """
    for group in optimiser.param_groups:
        if every := group.get("halve_every"):
            group["lr"] = group["first_rate"] * 0.5 ** (epoch // every)


def party_state(module: nn.Module, optimiser: Optimizer | None) -> dict[str, Tensor]:
    """Weights, buffers and optimiser moments by name, tensors only."""
    state = {f"segment.{k}": v for k, v in module.state_dict().items()}
    if optimiser is not None:
        for i, moments in optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{i}.{k}": v for k, v in moments.items() if v is not None}
    return state


def load_party_state(
    module: nn.Module, optimiser: Optimizer | None, state: Mapping[str, Tensor], *, source: str
) -> None:
    """The inverse of ``party_state``, in place.

    Raises:
        ValueError: the state is of another network.
    """
    weights = {k.removeprefix("segment."): v for k, v in state.items() if k.startswith("segment.")}
    check_weights(module, weights, source=source)
    module.load_state_dict(weights)
    if optimiser is None:
        return
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, value in state.items():
        if name.startswith("optimiser."):
            i, key = _checked_moment(name, value, parameters, source=source)
            moments.setdefault(i, {})[key] = _lying_as(parameters[i], value)
    wanted = _moments_of(optimiser)
    if any(found.keys() != wanted for found in moments.values()):
        raise ValueError(f"{source}: moments {', '.join(sorted(wanted))} of each weight wanted")
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def _moments_of(optimiser: Optimizer) -> set[str]:
    """What an optimiser keeps of each weight."""
    if not isinstance(optimiser, Adam):
        return set()
    more = {"max_exp_avg_sq"} if optimiser.defaults["amsgrad"] else set()
    return {"step", "exp_avg", "exp_avg_sq"} | more


def _checked_moment(
    name: str, value: Tensor, parameters: Sequence[Tensor], *, source: str
) -> tuple[int, str]:
    """Weight and kind of a moment. The fused kernels check nothing: a moment that is too small is
    memory that they read and write beyond its end.

    Raises:
        ValueError: it fits no weight.
    """
    _, index, key = (*name.split(".", 2), "", "")[:3]
    known = index.isdecimal() and int(index) < len(parameters)
    weight = parameters[int(index)] if known else value
    shape = torch.Size() if key == "step" else weight.shape
    if not known or value.shape != shape or value.dtype not in (weight.dtype, torch.float32):
        raise ValueError(
            f"{source}: moments of {len(parameters)} weights wanted, each of its shape: got {name} "
            f"of shape {tuple(value.shape)}, {value.dtype}"
        )
    return int(index), key


def _lying_as(weight: Tensor, moment: Tensor) -> Tensor:
    """A copy that lies in memory as the weight does: the fused kernel walks both in one order."""
    if moment.shape != weight.shape:  # a count of steps
        return moment.clone()
    return torch.empty_like(weight, dtype=moment.dtype, device=moment.device).copy_(moment)


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Refuse weights whose names or shapes are not those of the module.

    Raises:
        ValueError: naming what is missing, what is left over, or the first shape that differs.
    """
    own = module.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f"{source}: weights of this network wanted: "
            f"missing {', '.join(missing[:4]) or 'none'}; unknown {', '.join(extra[:4]) or 'none'}"
        )
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise ValueError(
                f"{source}: {name} of shape {tuple(tensor.shape)} wanted: "
                f"got {tuple(weights[name].shape)}; it was saved from another network"
            )


class Party:
    """What owner, relay and server share: a module, an optimiser, a name, and a place to save."""

    def __init__(self, name: str, module: nn.Module, optimiser: Optimizer | None, root: int):
        self.name, self.module, self.optimiser, self.root = name, module, optimiser, root

    def update(self, at: At) -> None:
        """One optimiser step on the gradients that are there, which are then dropped."""
        if self.optimiser is not None:
            set_rate(self.optimiser, at.epoch)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        return party_state(self.module, self.optimiser)

    def load(self, state: Mapping[str, Tensor], *, source: str) -> None:
        load_party_state(self.module, self.optimiser, state, source=source)

    def save(self, at: At, folder: Path) -> None:
        """Write ``folder/<name>.safetensors``: weights, buffers and moments as of ``at``."""
        save_tensors(self.state(), folder / f"{self.name}.safetensors")

    def restore(self, at: At, folder: Path) -> None:
        """The inverse of ``save``."""
        path = folder / f"{self.name}.safetensors"
        self.load(load_tensors(path), source=str(path))


class Station(Party):
    """What every far side does with a message: check it, learn from it once, repeat the reply.

    Args:
        segment: From message ``(N, *shape)`` to what this party sends on or predicts.
        optimiser: Its own; ``None`` for a network that stays as it is.
        root: Root of the random streams.
        shape: What the cut promises for one message; another is refused.
        precision: Of the segment's arithmetic in training.
    """

    def __init__(
        self,
        name: str,
        segment: nn.Module,
        optimiser: Optimizer | None,
        *,
        root: int,
        shape: tuple[int, ...],
        precision: Precision = "float32",
    ) -> None:
        super().__init__(name, segment, optimiser, root)
        self.shape, self.precision = shape, precision
        self._replies: dict[int, tuple[At, StepResult]] = {}
        self._open: dict[int, tuple[At, Tensor, Tensor, Tensor]] = {}

    def _learn(self, out: Tensor, y: Tensor, at: At) -> Tensor:
        """Back-propagate the loss of ``out`` into this segment; the loss."""
        raise NotImplementedError

    def _answer(self, out: Tensor, at: At) -> Tensor:
        """The network's output for what this segment made."""
        raise NotImplementedError

    def _beyond(self, dh: Tensor, at: At) -> Tensor:
        """dL/d(output of the network) to dL/d(output of this segment)."""
        raise NotImplementedError

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        if (last := self._replies.get(at.owner)) and last[0] == at:
            return last[1]
        received = receive(z, self.shape)
        if not len(received):  # an empty Poisson sample: nothing to learn from
            return self._reply(at, z.new_zeros(()), torch.zeros_like(received))
        with self._unharmed():
            loss = self._learn(self._run(received, at), y, at)
            self._check_finite(loss, received.grad)
        self.update(at)
        return self._reply(at, loss, received.grad)

    @contextmanager
    def _unharmed(self) -> Iterator[None]:
        """Whatever goes wrong in the block, weights and buffers are as before it."""
        before = [(buffer, buffer.clone()) for buffer in self.module.buffers()]
        try:
            yield
        except BaseException:
            with torch.no_grad():
                for buffer, old in before:
                    buffer.copy_(old)
            self.module.zero_grad(set_to_none=True)
            raise

    def _check_finite(self, loss: Tensor, gradient: Tensor | None) -> None:
        """Refuse to learn what would leave nothing but NaN, however finite the message was.

        Raises:
            ValueError: loss, gradients or buffers are not finite.
        """
        made = [p.grad for p in self.module.parameters() if p.grad is not None]
        made += [b for b in self.module.buffers() if b.is_floating_point()]
        made += [loss.detach(), *([] if gradient is None else [gradient])]
        # The largest value, not the norm: of a large but finite gradient that would be infinite.
        if not torch.stack(torch._foreach_norm(made, torch.inf)).isfinite().all():
            raise ValueError(
                "a message to learn from wanted: it makes loss or gradients NaN or infinite; "
                "lower the learning rate, or the strength of the defence"
            )

    def _run(self, received: Tensor, at: At) -> Tensor:
        with stream(self.root, self.name, at.owner, at.epoch, at.step):
            return run(self.module.train(), received, self.precision)

    def _reply(self, at: At, loss: Tensor, gradient: Tensor | None) -> StepResult:
        assert gradient is not None
        result = StepResult(loss.detach(), "mean", gradient)
        self._replies[at.owner] = (at, result)
        return result

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        if (waiting := self._open.get(at.owner)) and waiting[0] == at:
            return waiting[3]
        received = receive(z, self.shape)
        with self._unharmed():
            out = self._run(received, at)
            self._open[at.owner] = (at, received, out, self._answer(out.detach(), at))
        return self._open[at.owner][3]

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        if (last := self._replies.get(at.owner)) and last[0] == at:
            return last[1].gradient
        waiting = self._open.get(at.owner)
        if waiting is None or waiting[0] != at:
            raise ValueError(f"backward for {at} wanted after its forward: got none before it")
        _, received, out, answered = waiting
        if dh.shape != answered.shape or not dh.isfinite().all():
            raise ValueError(
                f"a finite gradient of shape {tuple(answered.shape)} wanted: got {tuple(dh.shape)}"
            )
        beyond = self._beyond(dh, at)
        del self._open[at.owner]  # its graph serves once
        with self._unharmed():
            torch.autograd.backward(out, beyond)
            self._check_finite(beyond, received.grad)
        self.update(at)
        return self._reply(at, dh.new_zeros(()), received.grad).gradient

    def restore(self, at: At, folder: Path) -> None:
        super().restore(at, folder)
        self._replies.clear()  # they belong to what has been undone
        self._open.clear()


class Server(Station):
    """The computation server: the last segment and the loss. Implements ``FarSide``."""

    def __init__(
        self,
        segment: nn.Module,
        optimiser: Optimizer | None,
        *,
        root: int,
        shape: tuple[int, ...],
        precision: Precision = "float32",
    ) -> None:
        super().__init__("server", segment, optimiser, root=root, shape=shape, precision=precision)

    def _learn(self, out: Tensor, y: Tensor, at: At) -> Tensor:
        loss = cross_entropy(out, y)
        torch.autograd.backward(loss)
        return loss

    def _answer(self, out: Tensor, at: At) -> Tensor:
        return out

    def _beyond(self, dh: Tensor, at: At) -> Tensor:
        return dh

    @torch.no_grad()
    def predict(self, z: Tensor) -> Tensor:
        out: Tensor = self.module.eval()(receive(z, self.shape))
        return out


class Relay(Station):
    """A middle participant of a chain: server to one side, owner to the other.

    Args:
        far: Who comes behind it.
    """

    def __init__(
        self,
        name: str,
        segment: nn.Module,
        optimiser: Optimizer | None,
        far: FarSide,
        *,
        root: int,
        shape: tuple[int, ...],
        precision: Precision = "float32",
    ) -> None:
        super().__init__(name, segment, optimiser, root=root, shape=shape, precision=precision)
        self.far = far

    def _learn(self, out: Tensor, y: Tensor, at: At) -> Tensor:
        result = self.far.step(out.detach(), y, at=at)
        torch.autograd.backward(out, result.gradient)
        return result.loss

    def _answer(self, out: Tensor, at: At) -> Tensor:
        return self.far.forward(out, at=at)

    def _beyond(self, dh: Tensor, at: At) -> Tensor:
        return self.far.backward(dh, at=at)

    @torch.no_grad()
    def predict(self, z: Tensor) -> Tensor:
        return self.far.predict(self.module.eval()(receive(z, self.shape)))

    def save(self, at: At, folder: Path) -> None:
        super().save(at, folder)
        self.far.save(at, folder)

    def restore(self, at: At, folder: Path) -> None:
        self.far.restore(at, folder)  # first: if it cannot, both stay where they are
        super().restore(at, folder)


def receive(z: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A message as the receiving party may use it: checked first, cut off from the sender's graph.

    Raises:
        ValueError: not ``(N, *shape)``, or not finite.
    """
    if tuple(z.shape[1:]) != shape:
        raise ValueError(f"message of shape (N, {_list(shape)}) wanted: got {tuple(z.shape)}")
    # The sum first: twenty times as fast, and never finite where an element is not.
    if not z.sum().isfinite() and not z.isfinite().all():
        raise ValueError(
            "message of finite values wanted: got NaN or infinity; "
            "lower the learning rate, or the strength of the defence"
        )
    return z.detach().requires_grad_()


def _list(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


class Owner(Party):
    """A data owner: a copy of the first segment with its defences, its optimiser, its own data.

    Args:
        number: 0, 1, …; names its streams and its files.
        defended: Segment and defences.
        optimiser: Over both of them.
        data: ``(x, y)``: this owner's training set, float32 in [0, 1], and labels.
        augment: What happens to each image before every step; segment, defences and penalties see
            only what came of it.
        secret: What this owner's defences draw from, at least 32 bytes; it appears in no record,
            configuration or shared file. None: from the named stream, so that an experiment can be
            repeated.

    Raises:
        ValueError: samples that cannot be augmented so, a secret that is too short.
    """

    def __init__(
        self,
        number: int,
        defended: Defended,
        optimiser: Optimizer | None,
        data: tuple[Tensor, Tensor],
        *,
        root: int,
        augment: Augment = "none",
        secret: bytes | None = None,
    ) -> None:
        super().__init__(f"owner{number}", defended, optimiser, root)
        self.number, self.defended, self.data = number, defended, data
        check_augment(augment, data[0].shape[1:])
        check_secret(secret)
        self.augment, self.secret = augment, secret

    def step(self, index: Tensor, far: FarSide, *, at: At) -> float:
        """Algorithm 1 (Titcombe et al., appendix B) on the samples of ``index``; the task loss."""
        x, y = self._samples(index, at)
        self.defended.train()
        defence = self.defended.defence
        with (
            stream(self.root, self.name, at.epoch, at.step),
            # The session as well: under two strengths the same noise could be solved for.
            drawn_from(self.secret, at.session, self.name, at.epoch, at.step),
            in_phase(defence, "train"),
        ):
            z, sent = self.defended.emit(x)
            penalty = defence.penalty(x, z, sent) if len(x) else z.new_zeros(())
        result = far.step(sent.detach(), y, at=at)
        roots, gradients = [sent], [result.gradient]
        if penalty.requires_grad:
            roots, gradients = [*roots, penalty], [*gradients, torch.ones_like(penalty)]
        if self.optimiser is not None and len(x):
            torch.autograd.backward(roots, gradients)
            self.update(at)
        return float(result.loss)

    def _samples(self, index: Tensor, at: At) -> tuple[Tensor, Tensor]:
        # Not from the stream of the noise: that is the same without augmentation.
        rng = generator(self.root, self.name, "augment", at.epoch, at.step)
        return augmented(self.data[0][index], self.augment, rng), self.data[1][index]
