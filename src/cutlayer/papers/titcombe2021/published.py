"""What Titcombe et al. (2021) and their public result files report, as data.

Accuracies in per cent, on the 5,000 images they validated with. "Distance correlation" is theirs:
squared Euclidean distances, the mean over batches, ± standard error over batches.

Reference: arXiv:2104.05743, table 1; result files of github.com/TTitcombe/Model-Inversion-SplitNN
at ff8f559, ae7133b and branch post_training_noise_and_nopeek.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Classifier:
    """One row about a trained classifier.

    noise: Laplace scale b in training and after. weight: of NoPeek. accuracy: per cent.
    dependence, error: distance correlation of inputs and messages, and its standard error.
    """

    noise: float
    weight: float
    accuracy: float
    dependence: float
    error: float


@dataclass(frozen=True)
class Mislabelled:
    """A row of table 1 that carries the values of another weight."""

    printed: Classifier
    weight: float  # whose values they are
    evidence: str


@dataclass(frozen=True)
class Attacked:
    """One row about reconstructions from undisturbed messages of a classifier.

    dependence, error: distance correlation of inputs and reconstructions. read: per cent that
    another classifier of the same kind labels right.
    """

    noise: float
    weight: float
    dependence: float
    error: float
    read: float


TABLE_1 = (
    Classifier(0.0, 0.1, 98.04, 0.472, 0.004),
    Classifier(0.0, 0.2, 97.80, 0.390, 0.003),
    Classifier(0.0, 0.5, 97.90, 0.368, 0.004),
    Classifier(0.1, 0.0, 98.19, 0.804, 0.004),
    Classifier(0.1, 0.1, 97.84, 0.474, 0.003),
    Classifier(0.1, 0.5, 98.00, 0.411, 0.004),
    Classifier(0.2, 0.0, 98.00, 0.811, 0.004),
    Classifier(0.2, 0.1, 97.98, 0.491, 0.003),
    Classifier(0.2, 0.5, 97.46, 0.411, 0.003),
    Classifier(0.5, 0.0, 98.24, 0.795, 0.004),
    Classifier(0.5, 0.1, 97.52, 0.525, 0.003),
    Classifier(0.5, 0.5, 97.38, 0.437, 0.003),
)

MISLABELLED = (
    Mislabelled(
        TABLE_1[1],
        0.5,
        "the result files have accuracy 97.80 and 0.389 ± 0.003 for weight 0.5, "
        "and no classifier of weight 0.2",
    ),
    Mislabelled(
        TABLE_1[2],
        1.0,
        "the result files have accuracy 97.90 and 0.375 ± 0.004 for weight 1.0, and 0.368 is its "
        "value on the training images",
    ),
)

# The undefended classifier is in the files only.
FILES = (
    Classifier(0.0, 0.0, 98.08, 0.815, 0.004),
    Classifier(0.0, 0.1, 98.04, 0.472, 0.004),
    Classifier(0.0, 0.5, 97.80, 0.389, 0.003),
    Classifier(0.0, 1.0, 97.90, 0.375, 0.004),
    Classifier(0.0, 5.0, 81.92, 0.353, 0.003),
    Classifier(0.0, 10.0, 11.42, 0.348, 0.003),
    Classifier(0.1, 0.0, 98.18, 0.804, 0.004),
    Classifier(0.1, 0.1, 97.84, 0.474, 0.003),
    Classifier(0.1, 0.25, 98.02, 0.437, 0.004),
    Classifier(0.1, 0.5, 98.00, 0.411, 0.004),
    Classifier(0.2, 0.0, 98.00, 0.811, 0.004),
    Classifier(0.2, 0.1, 97.98, 0.491, 0.003),
    Classifier(0.2, 0.25, 98.20, 0.450, 0.004),
    Classifier(0.2, 0.5, 97.46, 0.411, 0.003),
    Classifier(0.5, 0.0, 98.24, 0.795, 0.004),
    Classifier(0.5, 0.05, 97.86, 0.674, 0.003),
    Classifier(0.5, 0.1, 97.52, 0.525, 0.003),
    Classifier(0.5, 0.25, 97.76, 0.442, 0.004),
    Classifier(0.5, 0.5, 97.38, 0.437, 0.003),
    Classifier(1.0, 0.0, 97.64, 0.781, 0.005),
    Classifier(1.0, 0.1, 97.54, 0.575, 0.003),
    Classifier(1.0, 0.25, 97.42, 0.500, 0.003),
    Classifier(1.0, 0.5, 96.78, 0.452, 0.003),
)

# Their own later training runs of one cell (branch updated_evaluation): accuracy, dependence.
RETRAINED = {(0.5, 0.5): ((95.20, 0.556), (95.32, 0.556), (97.30, 0.451))}

ATTACKS = (
    Attacked(0.0, 0.0, 0.946, 0.001, 95.62),
    Attacked(0.0, 0.1, 0.828, 0.003, 95.20),
    Attacked(0.0, 0.5, 0.748, 0.006, 96.66),
    Attacked(0.0, 1.0, 0.717, 0.007, 97.20),
    Attacked(0.1, 0.0, 0.945, 0.001, 95.78),
    Attacked(0.1, 0.1, 0.841, 0.003, 94.88),
    Attacked(0.1, 0.25, 0.780, 0.005, 95.94),
    Attacked(0.1, 0.5, 0.742, 0.006, 97.10),
    Attacked(0.2, 0.1, 0.835, 0.003, 93.94),
    Attacked(0.2, 0.25, 0.774, 0.006, 96.94),
    Attacked(0.2, 0.5, 0.761, 0.005, 96.48),
    Attacked(0.5, 0.0, 0.939, 0.001, 95.74),
    Attacked(0.5, 0.05, 0.912, 0.002, 94.70),
    Attacked(0.5, 0.1, 0.854, 0.002, 93.28),
    Attacked(0.5, 0.25, 0.781, 0.005, 96.62),
    Attacked(0.5, 0.5, 0.773, 0.005, 96.72),
    Attacked(1.0, 0.0, 0.928, 0.001, 95.14),
)

# Figure 4: accuracy by the scale of noise added after training, for each NoPeek weight.
FIGURE_4_SCALES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0)
FIGURE_4 = {
    0.0: (
        *(98.08, 98.10, 98.12, 98.02, 97.94, 97.90, 97.80, 97.78, 97.70, 97.48, 97.24, 95.98),
        92.38,
    ),
    0.1: (
        *(98.04, 98.04, 97.94, 97.76, 97.54, 96.96, 96.88, 95.92, 93.92, 91.60, 88.88, 72.04),
        57.16,
    ),
    0.5: (
        *(97.80, 97.76, 97.50, 97.42, 96.40, 94.00, 90.20, 83.72, 78.82, 72.86, 66.88, 45.20),
        33.82,
    ),
}
