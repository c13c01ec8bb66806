"""Data sets as tensors, one file per format, and who gets which samples of them.

To add a data set, write a function with keyword-only, plainly-valued arguments that returns a
``Dataset``, and name it in ``DATASETS``: its signature becomes ``--data NAME:argument=value``.
"""

from collections.abc import Callable

from .arrays import load_arrays
from .cifar import load_cifar10
from .dataset import Dataset
from .digits import load_digits
from .drawn import load_checkerboard, load_text
from .femnist import load_femnist_digits
from .idx import load_emnist_letters, load_fashion_mnist, load_kmnist, load_mnist
from .images import load_images
from .noise import load_noise
from .pairs import load_digit_pairs
from .shares import Shares, share_out
from .torch_dataset import from_torch

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
    "emnist-letters": load_emnist_letters,
    "kmnist": load_kmnist,
    "digit-pairs": load_digit_pairs,
    "femnist-digits": load_femnist_digits,
    "cifar10": load_cifar10,
    "images": load_images,
    "arrays": load_arrays,
    "noise": load_noise,
    "checkerboard": load_checkerboard,
    "text": load_text,
}

__all__ = ["DATASETS", "Dataset", "Shares", "from_torch", "share_out"]
