"""Labels of the victims, read through the whole flow of an experiment."""

from pathlib import Path

import pytest
import torch
from test_experiment import assembly, blobs, others

from cutlayer import overhear
from cutlayer.assembly import Assembly
from cutlayer.attacks import FarSegmentReads, LabelInference
from cutlayer.checks import of_inference
from cutlayer.config import parse
from cutlayer.data import Dataset
from cutlayer.experiment import load_network, run_training
from cutlayer.inferring import Inferred, _balanced, infer
from cutlayer.record import Estimate, Store
from cutlayer.threat import Observed

GRANTED = {"threat": "server-and-owner"}
BRIGHT = (blobs().x.flatten(1).mean(1) > 0.5).long()  # (1200,) an attribute that is no class


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


def inferred(
    store: Store, attack: object = None, *, labels: object = None, **changes: object
) -> Inferred:
    a = assembly(**GRANTED | changes)
    network = load_network(a, store, run_training(a, store).id)
    return infer(a, network, attack, labels=labels)  # type: ignore[arg-type]


def test_the_class_is_read_off_undefended_messages_by_either_attack(store: Store) -> None:
    for attack in (LabelInference(epochs=20), FarSegmentReads()):
        found = inferred(store, attack)
        assert found.accuracy.value is not None
        assert found.accuracy.low is not None
        assert found.accuracy.low > 0.7 > 3 * found.chance
        assert found.advantage == pytest.approx(
            (found.accuracy.value - found.chance) / (1 - found.chance)
        )
        assert found.balanced_chance == pytest.approx(0.1)
        assert set(found.flags) <= {"small-n", "attack-not-converged"}
        assert found.scores.shape == (150, 10)
        assert found.queries == (300 if isinstance(attack, LabelInference) else 0)


def test_drowned_in_noise_it_is_at_chance_and_says_so(store: Store) -> None:
    found = inferred(store, LabelInference(epochs=4), defence="laplace:scale=200,active=serve")
    assert found.accuracy.value is not None
    assert found.accuracy.value < found.chance + 0.1
    assert {"attack-below-floor", "randomised-defence-single-query", "small-n"} <= set(found.flags)


def test_a_private_attribute_is_read_whatever_the_model_grants_of_classes(store: Store) -> None:
    found = inferred(store, LabelInference(epochs=20), labels=BRIGHT, threat="black-box")
    assert found.accuracy.low is not None
    assert found.accuracy.low > found.chance + 0.1
    assert found.balanced_chance == 0.5
    assert found.scores.shape == (150, 2)
    assert torch.equal(found.truth, BRIGHT[assembly().victims])


def test_the_same_experiment_reads_the_same_and_hears_what_its_attack_hears(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = {"defence": "laplace:scale=0.3,active=serve", "repeats": 2}
    heard, reads = list[torch.Tensor](), FarSegmentReads._score

    def listening(self: FarSegmentReads, seen: Observed) -> torch.Tensor:
        heard.append(seen.messages)
        return reads(self, seen)

    monkeypatch.setattr(FarSegmentReads, "_score", listening)
    scores = [inferred(store, FarSegmentReads(), **noisy).scores for _ in range(2)]
    assert torch.equal(*scores)
    a = assembly(**GRANTED | noisy)
    network = load_network(a, store, run_training(a, store).id)
    (x, _), root = a.take(a.victims), a.experiment.seed
    (_, _, messages), *_ = overhear.served(network, x, repeats=2, root=root)
    assert torch.equal(heard[0], messages)
    assert not torch.equal(messages[:, 0], messages[:, 1])


def test_where_a_label_is_common_the_balanced_share_shows_what_accuracy_hides() -> None:
    """By hand: three of four zeros and one of two ones."""
    truth = torch.tensor([0, 0, 0, 0, 1, 1])
    logits = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 0]])
    found, labels = _balanced(logits, truth)
    assert labels == 2
    assert found.value == (0.75 + 0.5) / 2
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    perfect, _ = _balanced(torch.eye(2)[truth], truth)
    assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)


def test_one_share_above_its_chance_is_enough_and_touching_it_is_not() -> None:
    above, at = Estimate(value=0.6, low=0.55, high=0.7), Estimate(value=0.6, low=0.5, high=0.7)
    ok = dict(victims=500, finite=True, converged=None, stochastic=False, repeats=1, duplicates=0)
    assert of_inference(guessed=[(at, 0.5), (above, 0.5)], **ok) == []  # type: ignore[arg-type]
    assert of_inference(guessed=[(at, 0.5)], **ok) == ["attack-below-floor"]  # type: ignore[arg-type]
    nothing = Estimate(value=None)
    raised = of_inference(
        guessed=[(nothing, 0.5)],
        victims=9,
        finite=False,
        converged=False,
        stochastic=True,
        repeats=1,
        duplicates=1,
    )
    assert set(raised) == {
        *("non-finite-reconstruction", "attack-below-floor", "attack-not-converged"),
        *("randomised-defence-single-query", "small-n", "overlapping-data"),
    }


def elsewhere() -> Dataset:
    made = others()
    return Dataset(name="letters", x=made.x, y=made.y, classes=tuple("abcdefghij"))


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({"threat": "black-box"}, None, "needs labelled auxiliary data"),
        ({}, BRIGHT[:9], "a whole number for each of 1200 samples of blobs wanted"),
        ({}, BRIGHT - 1, "numbers from 0 on wanted: got -1"),
        ({"auxiliary": "test_inferring:elsewhere"}, None, "whose labels mean something else"),
        ({"auxiliary": "test_experiment:others"}, BRIGHT, "whose labels mean something else"),
        ({"victims_from": "test_experiment:others"}, None, "they come from others"),
    ],
)
def test_what_is_refused_and_how(
    store: Store, changes: dict[str, str], labels: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        inferred(store, labels=labels, **changes)


def test_the_embedded_digits_within_seconds(tmp_path: Path) -> None:
    e = parse({"data": "digits", "model": "lenet", "epochs": 3, "threads": 1})
    a = Assembly.of(e).variant(threat="server-and-owner")
    network = load_network(a, Store(tmp_path), run_training(a, Store(tmp_path)).id)
    found = infer(a, network)
    assert found.accuracy.low is not None
    assert found.accuracy.low > 0.8
