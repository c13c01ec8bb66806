"""The parties of a split network: owner, computation server, and relays between them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

from .defences import Defended, in_phase
from .errors import did_you_mean
from .streams import stream
from .wire import At, FarSide, StepResult

OPTIMISERS: tuple[str, ...] = ("adam", "sgd")


def optimiser(name: str, module: nn.Module, learning_rate: float) -> Optimizer | None:
    """A party's own optimiser; ``None`` for a party that has nothing to learn.

    Raises:
        ValueError: no such optimiser, or a learning rate that is not positive.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"optimiser {name!r}: unknown{did_you_mean(name, OPTIMISERS)}")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning rate must be > 0: got {learning_rate}")
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        return None
    if name == "sgd":
        return SGD(parameters, learning_rate)
    return Adam(parameters, learning_rate, fused=True)


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
    for name, value in state.items():
        if name.startswith("optimiser."):
            _, i, key = name.split(".", 2)
            moments.setdefault(int(i), {})[key] = value.clone()
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )


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

    def update(self) -> None:
        """One optimiser step on the gradients that are there, which are then dropped."""
        if self.optimiser is not None:
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        return party_state(self.module, self.optimiser)

    def load(self, state: Mapping[str, Tensor], *, source: str) -> None:
        load_party_state(self.module, self.optimiser, state, source=source)

    def save(self, at: At, folder: Path) -> None:
        """Write ``folder/<name>.safetensors``: weights, buffers and moments as of ``at``."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.state().items()}
        save_file(state, folder / f"{self.name}.safetensors")

    def restore(self, at: At, folder: Path) -> None:
        """The inverse of ``save``."""
        path = folder / f"{self.name}.safetensors"
        self.load(load_file(path), source=str(path))


class Server(Party):
    """The computation server: the last segment, the loss, an optimiser. Implements ``FarSide``.

    Args:
        segment: From message ``(N, *shape)`` to logits ``(N, K)``.
        optimiser: Its own; ``None`` for a network that stays as it is.
        root: Root of the random streams.
        shape: What the cut promises for one message; another is refused.
    """

    def __init__(
        self, segment: nn.Module, optimiser: Optimizer | None, *, root: int, shape: tuple[int, ...]
    ) -> None:
        super().__init__("server", segment, optimiser, root)
        self.shape = shape
        self._replies: dict[int, tuple[At, StepResult]] = {}
        self._open: dict[int, tuple[At, Tensor, Tensor]] = {}

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        if (last := self._replies.get(at.owner)) and last[0] == at:
            return last[1]
        received = receive(z, self.shape)
        if not len(received):  # an empty Poisson sample: nothing to learn from
            return self._reply(at, StepResult(z.new_zeros(()), "mean", torch.zeros_like(received)))
        with stream(self.root, self.name, at.owner, at.epoch, at.step):
            loss = cross_entropy(self.module.train()(received), y)
        torch.autograd.backward(loss)
        self.update()
        assert received.grad is not None
        return self._reply(at, StepResult(loss.detach(), "mean", received.grad))

    def _reply(self, at: At, result: StepResult) -> StepResult:
        self._replies[at.owner] = (at, result)
        return result

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        if (waiting := self._open.get(at.owner)) and waiting[0] == at:
            return waiting[2].detach()
        received = receive(z, self.shape)
        with stream(self.root, self.name, at.owner, at.epoch, at.step):
            out: Tensor = self.module.train()(received)
        self._open[at.owner] = (at, received, out)
        return out.detach()

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        if (last := self._replies.get(at.owner)) and last[0] == at:
            return last[1].gradient
        waiting = self._open.pop(at.owner, None)
        if waiting is None or waiting[0] != at:
            raise ValueError(f"backward for {at} wanted after its forward: got none before it")
        _, received, out = waiting
        torch.autograd.backward(out, dh)
        self.update()
        assert received.grad is not None
        return self._reply(at, StepResult(dh.new_zeros(()), "sum", received.grad)).gradient

    @torch.no_grad()
    def predict(self, z: Tensor) -> Tensor:
        out: Tensor = self.module.eval()(receive(z, self.shape))
        return out


class Relay(Party):
    """A middle participant of a chain: server to one side, owner to the other."""

    def __init__(
        self,
        name: str,
        segment: nn.Module,
        optimiser: Optimizer | None,
        far: FarSide,
        *,
        root: int,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__(name, segment, optimiser, root)
        self.far, self.shape = far, shape
        self._replies: dict[int, tuple[At, StepResult]] = {}

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        if (last := self._replies.get(at.owner)) and last[0] == at:
            return last[1]
        received, h = self._ahead(z, at)
        result = self.far.step(h.detach(), y, at=at)
        reply = StepResult(result.loss, result.reduction, self._back(received, h, result.gradient))
        self._replies[at.owner] = (at, reply)
        return reply

    def _ahead(self, z: Tensor, at: At) -> tuple[Tensor, Tensor]:
        received = receive(z, self.shape)
        with stream(self.root, self.name, at.owner, at.epoch, at.step):
            return received, self.module.train()(received)

    def _back(self, received: Tensor, h: Tensor, gradient: Tensor) -> Tensor:
        torch.autograd.backward(h, gradient)
        self.update()
        assert received.grad is not None
        return received.grad

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        self._waiting = (at, *self._ahead(z, at))
        return self.far.forward(self._waiting[2].detach(), at=at)

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        if (last := self._replies.get(at.owner)) and last[0] == at:
            return last[1].gradient
        _, received, h = self._waiting
        gradient = self._back(received, h, self.far.backward(dh, at=at))
        self._replies[at.owner] = (at, StepResult(dh.new_zeros(()), "sum", gradient))
        return gradient

    @torch.no_grad()
    def predict(self, z: Tensor) -> Tensor:
        return self.far.predict(self.module.eval()(receive(z, self.shape)))

    def save(self, at: At, folder: Path) -> None:
        super().save(at, folder)
        self.far.save(at, folder)

    def restore(self, at: At, folder: Path) -> None:
        super().restore(at, folder)
        self.far.restore(at, folder)


def receive(z: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A message as the receiving party may use it: checked first, cut off from the sender's graph.

    Raises:
        ValueError: not ``(N, *shape)``, or not finite.
    """
    if tuple(z.shape[1:]) != shape:
        raise ValueError(f"message of shape (N, {_list(shape)}) wanted: got {tuple(z.shape)}")
    if not z.isfinite().all():
        raise ValueError("message of finite values wanted: got NaN or infinity; lower the strength")
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
    """

    def __init__(
        self,
        number: int,
        defended: Defended,
        optimiser: Optimizer | None,
        data: tuple[Tensor, Tensor],
        *,
        root: int,
    ) -> None:
        super().__init__(f"owner{number}", defended, optimiser, root)
        self.number, self.defended, self.data = number, defended, data

    def step(self, index: Tensor, far: FarSide, *, at: At) -> float:
        """Algorithm 1 (Titcombe et al., appendix B) on the samples of ``index``; the task loss."""
        x, y = self.data[0][index], self.data[1][index]
        self.defended.train()
        defence = self.defended.defence
        with stream(self.root, self.name, at.epoch, at.step), in_phase(defence, "train"):
            z, sent = self.defended.emit(x)
            penalty = defence.penalty(x, z, sent) if len(x) else z.new_zeros(())
        result = far.step(sent.detach(), y, at=at)
        roots, gradients = [sent], [result.gradient]
        if penalty.requires_grad:
            roots, gradients = [*roots, penalty], [*gradients, torch.ones_like(penalty)]
        if self.optimiser is not None and len(x):
            torch.autograd.backward(roots, gradients)
            self.update()
        return float(result.loss)
