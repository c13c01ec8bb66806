"""The inversion attack of Titcombe et al. (2021) as their public code ran it."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ...attacks import Reconstruction
from ...decoders import decoder
from ...precision import laid_out
from ...threat import Observed, View

MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels, by which they normalise


class PublishedAttack(Reconstruction):
    """An affine map from messages to normalised pixels, fitted on messages without noise.

    Transposed convolutions with nothing between them; Adam at 1e-4, batches of 128, no shuffling,
    the last epoch. The messages it learns from come out of its own copy of the owner's segment,
    past the defences: it has never seen the noise that it is then shown. Kept to be compared with
    attackers that have; ``InverseNetwork`` is what to judge a defence by.

    Args:
        epochs: Passes over the auxiliary samples.
        batch_size: Samples a step.
        learning_rate: Of Adam.

    Reference: arXiv:2104.05743; code as of ff8f559.
    """

    needs = frozenset({"owner_segment"})

    def __init__(
        self, *, epochs: int = 10, batch_size: int = 128, learning_rate: float = 1e-4
    ) -> None:
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate = learning_rate

    def _fit(self, view: View) -> None:
        assert view.owner_segment is not None
        segment = view.owner_segment.eval()
        with torch.no_grad():
            messages = torch.cat([segment(x) for x in view.auxiliary.split(256)])
        shape = tuple(messages.shape[1:])
        network = decoder("titcombe-affine", shape, self.input_shape_).to(messages)
        self.network_ = laid_out(network)
        optimiser = torch.optim.Adam(self.network_.parameters(), self.learning_rate, fused=True)
        wanted = (view.auxiliary - MEAN) / DEVIATION
        losses: list[float] = []
        for epoch in range(self.epochs):
            self.on_progress("attack", epoch, self.epochs)
            total = 0.0
            pairs = zip(messages.split(self.batch_size), wanted.split(self.batch_size), strict=True)
            for z, x in pairs:
                loss = mse_loss(self.network_(z), x)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                total += float(loss.detach()) * len(x)
            losses.append(total / len(wanted))
        self.network_.eval()
        self.fitted_ = {"epochs": self.epochs, "training_mse_of_normalised_pixels": losses}

    def _reconstruct(self, seen: Observed) -> Tensor:
        return (
            torch.cat([self.normalised(z) for z in seen.messages.mean(1).split(512)])
            .mul(DEVIATION)
            .add(MEAN)
        )

    @torch.no_grad()
    def normalised(self, z: Tensor) -> Tensor:
        """Messages ``(N, ...)`` to normalised pixels, as their evaluation takes them: unclamped."""
        out: Tensor = self.network_(z)
        return out
