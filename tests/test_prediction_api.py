"""A prediction API under attack, from configuration to record."""

from typing import Any

import pytest
import torch

from cutlayer import Assembly, ConfigError, Record, Store, parse, run_attack
from cutlayer.attacks import ConfidenceInversion
from cutlayer.experiment import listening_post, load_network, run_training, view_of
from cutlayer.prediction_api import PredictionApi
from cutlayer.threat import Observed

torch.set_num_threads(1)
QUICK = "confidence-inversion:epochs=25,batch_size=16"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


def assembly(**fields: Any) -> Assembly:
    usual = {"data": "digits", "epochs": 3, "threads": 1, "device": "cpu", "victims": 200}
    return Assembly.of(parse({**usual, "threat": "prediction-api", "attack": QUICK, **fields}))


def attacked(store: Store, **fields: Any) -> Record:
    return run_attack(assembly(**fields), store)


@pytest.fixture(scope="module")
def undefended(store: Store) -> Record:
    return attacked(store)


def value(record: Record, name: str) -> float:
    found = record.leakage[name].value
    assert found is not None
    return found


def test_undefended_it_beats_the_mean_of_the_class(undefended: Record) -> None:
    floor = undefended.floors["class-mean"]["mse"].value
    assert floor is not None
    assert value(undefended, "mse") < floor
    assert undefended.data["message_shape"] == [10]
    assert undefended.threat["queries"] > 0


def test_the_label_alone_leaves_no_more_than_the_class(store: Store, undefended: Record) -> None:
    record = attacked(store, defence="label-only")
    assert value(record, "mse") > 1.1 * value(undefended, "mse")
    assert record.utility["accuracy"].value == undefended.utility["accuracy"].value


@pytest.mark.parametrize("defence", ["lpa:steps=3,surrogate_epochs=[2]", "rounding:decimals=2"])
def test_accuracy_stays_to_the_last_sample(store: Store, undefended: Record, defence: str) -> None:
    record = attacked(store, defence=defence)
    assert record.utility["accuracy"].value == undefended.utility["accuracy"].value
    assert record.utility["label_agreement"].value == 1.0
    distortion = record.utility["l1_distortion"].value
    assert distortion is not None
    assert 0 < distortion <= 0.06


def test_flipped_labels_cost_accuracy_and_say_so(store: Store, undefended: Record) -> None:
    record = attacked(store, defence="lfp:fraction=0.3,steps=2,surrogate_epochs=[2]")
    agreement = record.utility["label_agreement"].value
    assert agreement is not None
    assert 0.4 < agreement < 0.9


def test_the_attacker_is_answered_as_the_victims_are(store: Store) -> None:
    a = assembly(defence=["output-noise:budget=0.1", "rounding:decimals=2"])
    network = load_network(a, store, run_training(a, store).id)
    post = listening_post(a, network)
    assert isinstance(post, PredictionApi)
    view = view_of(a, network, post)
    assert view.confidences is not None
    assert view.query is None
    answers = view.confidences(view.auxiliary[:5])
    assert answers.shape == (5, 1, 10)
    whole = answers.double() * 100
    torch.testing.assert_close(whole, whole.round(), atol=1e-4, rtol=0)
    with torch.no_grad():
        messages = network.defended.repeats(view.auxiliary[:5], 1)
    assert torch.equal(post.heard(messages, view.auxiliary[:5]), answers)
    assert torch.equal(listening_post(a, network).send(view.auxiliary[:5], 1), answers)


def test_who_asks_again_is_told_the_same_unless_noise_is_fresh(store: Store) -> None:
    for repeatable in ("false", "true"):
        a = assembly(defence=f"output-noise:budget=0.2,repeatable={repeatable}")
        network = load_network(a, store, run_training(a, store).id)
        x, _ = a.take(a.victims[:20])
        answers = listening_post(a, network).send(x, 5)
        same = bool((answers == answers[:, :1]).all())
        assert same == (repeatable == "true")
        assert view_of(a, network).query_repeats == same


def test_an_output_defence_needs_a_prediction_api() -> None:
    with pytest.raises(ConfigError, match="take threat prediction-api, or another defence"):
        parse({"defence": "rounding", "threat": "white-box"})


@pytest.mark.parametrize("loss", ["mse", "l1", "ssim", "adversarial"])
@pytest.mark.parametrize("network", ["perceptron", "transposed", "residual", "auto"])
def test_every_architecture_and_loss_learns(store: Store, network: str, loss: str) -> None:
    a = assembly(attack=f"confidence-inversion:network={network},loss={loss},epochs=3")
    served = load_network(a, store, run_training(a, store).id)
    view = view_of(a, served)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attack = ConfidenceInversion(network=network, loss=loss, epochs=6, batch_size=16).fit(view)
    assert view.confidences is not None
    seen = Observed(view.confidences(view.validation))
    x_hat = attack.reconstruct(seen)
    assert x_hat.shape == view.validation.shape
    error = (x_hat - view.validation).square().mean()
    mean = (view.auxiliary.mean(0) - view.validation).square().mean()
    assert error < 0.95 * mean


def test_features_that_undo_an_offset_are_told_apart(store: Store) -> None:
    """Towards another vector of the class by a fixed step: the medians know."""
    a = assembly()
    view = view_of(a, load_network(a, store, run_training(a, store).id))
    attack = ConfidenceInversion(features="adaptive", epochs=6, batch_size=16).fit(view)
    assert attack.network_[0](torch.full((2, 10), 0.1)).shape == (2, 30)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"network": "perceptorn"}, "perceptron"),
        ({"loss": "l2"}, "loss 'l2': unknown"),
        ({"features": "raw"}, "features 'raw': unknown"),
        ({"top": 0}, "top must be at least 1"),
        ({"epochs": 0}, "ConfidenceInversion epochs must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ConfidenceInversion(**args)


def test_a_last_batch_of_one_has_no_statistics_and_is_left_out(store: Store) -> None:
    attack = "confidence-inversion:network=transposed,epochs=1,batch_size=16"
    record = attacked(store, attack=attack, auxiliary_samples=17)
    assert record.leakage["mse"].value is not None
