"""What He et al. (2019, 2020) print, and what their public code sets, as data.

PSNR in dB with a maximum of 255, SSIM as printed. Neither paper says how many test images a number
averages over; the defence scripts take ten, the first test image of each class. The logged curves
of the defences are in ``curves``.

Reference: "P1" is doi:10.1145/3359789.3359824 (ACSAC 2019), "P2" its extension "Attacking and
Protecting Data Privacy in Edge-Cloud Collaborative Inference Systems" (IEEE Internet of Things
Journal, 2020), "the code" github.com/zechenghe/Inverse_Collaborative_Inference at f010aed.
"""

from dataclasses import dataclass
from typing import Literal

Data = Literal["mnist", "cifar10"]

MODEL: dict[Data, str] = {"mnist": "lenet", "cifar10": "cifar10cnn"}
CUTS: tuple[tuple[Data, str], ...] = (  # P1, table 2; the order of its other tables
    ("mnist", "conv1"),
    ("mnist", "ReLU2"),
    ("cifar10", "conv11"),
    ("cifar10", "ReLU22"),
    ("cifar10", "ReLU32"),
)
UNRECOGNISABLE = 0.3  # SSIM below it is shaded in P1's tables
GOOD_PSNR = 10.0  # P2, footnote 1: good quality is above it, or an SSIM above 0.3


@dataclass(frozen=True)
class Cell:
    """Reconstructions at one cut in one case: a PSNR and the SSIM that belongs to it."""

    data: Data
    cut: str
    case: str
    psnr: float
    ssim: float

    @property
    def shaded(self) -> bool:
        """Whether P1 calls the images unrecognisable."""
        return self.ssim < UNRECOGNISABLE


@dataclass(frozen=True)
class Layer:
    """A point of figure 12, read off its vector graphics to about 0.01 dB and 0.002 in SSIM."""

    layer: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Structure:
    """The layers up to a cut, and those of the shadow model where that structure is unknown."""

    data: Data
    cut: str
    theirs: str
    shadow: str


@dataclass(frozen=True)
class Inversion:
    """What the code sets for the search at one cut.

    total_variation, l2: weights of mean squares, in units of the normalised pixel.
    """

    data: Data
    cut: str
    steps: int
    learning_rate: float
    total_variation: float
    l2: float = 0.0


@dataclass(frozen=True)
class Training:
    """What the code sets to train a network, with Adam. halved_every: epochs, the step size."""

    epochs: int
    halved_every: int
    batch_size: int = 32
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Inconsistency:
    """Where the printed numbers disagree, and how: a plain sentence or two."""

    where: str
    what: str


def cells(case: str, printed: str) -> tuple[Cell, ...]:
    """One row of a table: ``PSNR/SSIM`` for each of ``CUTS``.

    >>> cells("same set", "39.64/0.9887 20.35/0.7334 49.88/0.9993 19.81/0.6939 15.42/0.3124")[1]
    Cell(data='mnist', cut='ReLU2', case='same set', psnr=20.35, ssim=0.7334)
    """
    pairs = [tuple(map(float, pair.split("/"))) for pair in printed.split()]
    rows = zip(CUTS, pairs, strict=True)
    return tuple(Cell(data, cut, case, psnr, ssim) for (data, cut), (psnr, ssim) in rows)


# White-box: regularised maximum likelihood.
TABLE_3 = cells("white-box", "39.69/0.9969 15.10/0.5998 37.59/0.9960 19.47/0.6940 13.38/0.1625")

# Black-box: an inverse network, by what it is trained on.
TABLE_4 = (
    *cells("same set", "39.64/0.9887 20.35/0.7334 49.88/0.9993 19.81/0.6939 15.42/0.3124"),
    *cells("same distribution", "40.72/0.9950 20.81/0.8046 49.02/0.9992 19.36/0.6802 13.95/0.2196"),
    *cells("random", "14.76/0.7188 7.72/0.4310 48.59/0.9996 12.79/0.2930 12.37/0.0440"),
)

# The layers of the shadow model where the structure is unknown. ReLU32 is not listed; the code has
# 5×5×64, 5×5×128 and 5×5×128 there.
TABLE_5 = (
    Structure("mnist", "conv1", "one 5×5", "two 3×3"),
    Structure("mnist", "ReLU2", "two 5×5", "four 3×3"),
    Structure("cifar10", "conv11", "one 3×3×64", "3×3×16, 3×3×64"),
    Structure("cifar10", "ReLU22", "two 3×3×64, two 3×3×128", "one 5×5, one 5×5×128"),
)

# Query-free: a shadow model, by the attacker's data and by the structure it assumes.
TABLE_6 = (
    *cells("same set, same net", "17.60/0.7423 9.61/0.4981 21.16/0.9104 12.74/0.1752 11.09/0.0419"),
    *cells(
        "other set, same net", "21.53/0.9121 9.27/0.4652 21.45/0.9145 11.51/0.1723 11.98/0.0102"
    ),
    *cells(
        "same set, other net", "12.59/0.6430 8.05/0.3790 17.55/0.6344 12.46/0.2714 10.68/0.0247"
    ),
    *cells(
        "other set, other net", "17.86/0.6952 8.03/0.3226 13.06/0.1553 11.30/0.0467 11.47/0.0793"
    ),
)

# Which attack applies under which threat model.
TABLE_7: dict[str, dict[str, bool]] = {
    "white-box": {"likelihood": True, "inverse network": True, "shadow": True},
    "black-box": {"likelihood": False, "inverse network": True, "shadow": True},
    "query-free": {"likelihood": False, "inverse network": False, "shadow": True},
}

# Black-box: the inverse network against a shadow model trained by queries, then searched.
TABLE_8 = (
    *cells("inverse network", "39.64/0.9887 20.35/0.7334 49.87/0.9993 19.81/0.6939 15.41/0.3124"),
    *cells("shadow", "39.67/0.9968 15.41/0.6103 28.67/0.9766 18.02/0.6893 12.61/0.1145"),
)

# Query-free at every layer of LeNet (figure 15 of P2). The case is not stated; an SSIM drawn at
# about zero is 0.0; the last layer is the output, no cut.
FIGURE_12 = (
    Layer("conv1", 22.00, 0.735),
    Layer("ReLU1", 23.07, 0.913),
    Layer("pool1", 18.05, 0.719),
    Layer("conv2", 12.21, 0.597),
    Layer("ReLU2", 10.48, 0.489),
    Layer("pool2", 8.35, 0.400),
    Layer("fc1", 6.46, 0.035),
    Layer("fc1act", 6.37, 0.008),
    Layer("fc2", 6.37, 0.015),
    Layer("fc2act", 6.29, 0.0),
    Layer("fc3", 6.29, 0.0),
)

# P2, section III, repeats numbers of P1 for MNIST, with SSIM to two places.
REPEATED = (
    Cell("mnist", "conv1", "white-box", 39.69, 1.00),
    Cell("mnist", "ReLU2", "white-box", 15.10, 0.60),
    Cell("mnist", "conv1", "black-box", 40.72, 0.99),
    Cell("mnist", "ReLU2", "black-box", 20.81, 0.80),
    Cell("mnist", "conv1", "query-free", 17.86, 0.64),
    Cell("mnist", "ReLU2", "query-free", 8.03, 0.38),
)

# Settings that the white-box scripts recommend in their comments; none for MNIST conv1.
SETTINGS = (
    Inversion("mnist", "ReLU2", 5000, 1e-2, 1.0),
    Inversion("mnist", "fc3", 5000, 1e-2, 1e3),
    Inversion("cifar10", "conv11", 5000, 1e-2, 0.0),
    Inversion("cifar10", "ReLU22", 5000, 1e-2, 10.0),
    Inversion("cifar10", "ReLU32", 5000, 1e-2, 1e3),
    Inversion("cifar10", "fc1", 5000, 1e-3, 1e4),
    Inversion("cifar10", "fc1", 1000, 5e-2, 1e5),
    Inversion("cifar10", "fc2", 500, 1e-1, 5e2, l2=1e2),
)
# Of the search on a shadow model (README).
SHADOW_SETTINGS = (Inversion("cifar10", "ReLU22", 500, 1e-1, 2.0),)
# Behind the curves, as far as the scripts tell (the logs do not): the defaults for MNIST, and
# defenses.sh at 80d9fb2 for dropout on CIFAR10.
DEFENCE_SETTINGS = (
    *(
        Inversion("mnist", cut, 500, 1e-2, 1.0)
        for cut in ("ReLU1", "pool1", "conv2", "ReLU2", "pool2", "fc1")
    ),
    *(Inversion("cifar10", cut, 5000, 1e-2, 0.0) for cut in ("ReLU12", "pool1")),
    *(Inversion("cifar10", cut, 5000, 1e-2, 10.0) for cut in ("conv22", "ReLU22", "pool2")),
)
# Steps and learning rate in P1's text; the weight of the total variation is not printed.
PRINTED_SETTINGS = {"shallow": (500, 1e-2), "deep": (5000, 1e-3)}

# Of every Adam in the code, for networks and for searches.
EPSILON, AMSGRAD = 1e-3, True
# Targets: 200 epochs are the default of training.py; its README has 50 for CIFAR10.
TARGET_TRAINING: dict[Data, Training] = {
    "mnist": Training(epochs=200, halved_every=20),
    "cifar10": Training(epochs=50, halved_every=20),
}
AUGMENTATION = "CIFAR10: flips; up to 10° turned, 0.1 shifted, scaled by 0.9 to 1.1. MNIST: none."
# Inverse networks and shadow models, without shuffling.
ATTACK_TRAINING = Training(epochs=50, halved_every=10)
# Mean and deviation of each channel, by which images are normalised before the network.
NORMALISATION: dict[Data, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.5,), (0.5,)),
    "cifar10": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
ACCURACY: dict[Data, float] = {"mnist": 0.9914, "cifar10": 0.8719}  # from the logs; printed nowhere
# The first MNIST test image of each class, 0 to 9: what the scripts attack.
FIRST_OF_CLASS = (3, 2, 1, 18, 4, 8, 11, 0, 61, 7)

INCONSISTENCIES = (
    Inconsistency(
        "P2, section III-C",
        "The query-free numbers mix two rows of table 6: the PSNRs 17.86 and 8.03 dB are those of "
        "other data and another structure, the SSIMs 0.64 and 0.38 those of the same data and "
        "another structure.",
    ),
    Inconsistency(
        "P1, tables 4 and 8",
        "The same inverse networks have 49.88 dB at conv11 and 15.42 dB at ReLU32 in table 4, but "
        "49.87 and 15.41 dB in table 8.",
    ),
    Inconsistency(
        "P1, figure 12",
        "The figure has 22.0 dB at conv1; the four rows of table 6 have 12.59 to 21.53 dB there. "
        "Which case it shows is not said.",
    ),
    Inconsistency(
        "P2, section IV, dropout on MNIST",
        "The text has an SSIM below 0.25 at an accuracy above 95%. No logged rate gives both: "
        "rate 0.6 has an SSIM of 0.279 (0.263 in a second run), rate 0.7 an accuracy of 93.9% "
        "(94.2%).",
    ),
    Inconsistency(
        "P2, section IV, dropout on CIFAR10",
        "The text has an SSIM below 0.25 at a loss of less than 0.8 points of accuracy. No logged "
        "rate gives both: rate 0.5 has 0.255 and loses 0.91 points, rate 0.6 has 0.132 and loses "
        "2.03.",
    ),
    Inconsistency(
        "P2, section IV, noise on MNIST",
        "The text says that an accuracy above 95% needs a Gaussian scale below 0.8 and a Laplace "
        "scale below 0.5. In the logs that holds for noise on the input; on the message, "
        "scales of 0.9 and 0.6 still leave 95.2% and 95.9%.",
    ),
    Inconsistency(
        "P2, figure 8",
        "The row labels ReLU22 and ReLU2 are swapped between MNIST and CIFAR10.",
    ),
    Inconsistency(
        "P1, section 4",
        "The text has 500 steps at shallow cuts. A re-implementation of the code, on two networks, "
        "reaches 25 and 27 dB at conv1 of MNIST with 500 steps; table 3's 39.69 dB takes about "
        "2,000.",
    ),
    Inconsistency(
        "P1, table 3, and P2, figures 9 and 10",
        "Without a defence the same attack has 15.10 dB at ReLU2 of MNIST and 19.47 dB at ReLU22 "
        "of CIFAR10 in the table, but 10.31 and 18.49 dB in the figures. The script behind the "
        "MNIST figure takes 500 steps by default, where its comments recommend 5,000.",
    ),
    Inconsistency(
        "P1, section 4, P2, section III, and the code",
        "P2 has no total variation in front of the first fully connected layer; the code weighs it "
        "by 1 at ReLU2 of MNIST and by 10 at ReLU22 of CIFAR10. P1 prints the exponent 1 and a "
        "learning rate of 0.001 at deep cuts; the code squares, and has 0.01 up to ReLU32.",
    ),
)
