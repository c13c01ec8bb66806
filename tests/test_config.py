"""Flags and YAML to a checked value: every fault at once, one spelling for one meaning."""

from pathlib import Path

import pytest

from cutlayer.config import Experiment, parse, read_yaml
from cutlayer.described import defences_in_words, name_of, plain
from cutlayer.errors import ConfigError
from cutlayer.parts import Part, canonical


def test_defaults() -> None:
    e = parse({})
    assert e == parse({"data": "digits", "model": "titcombe:width=500", "defence": []})
    assert e.passes == 10
    assert (e.order, e.keep, e.precision) == ("shuffled", "last", "float32")
    assert (e.auxiliary, e.auxiliary_samples) == (None, 0)
    assert parse({"weights": "w.safetensors"}).passes == 0


def test_every_fault_is_reported_at_once() -> None:
    bad = {
        "defence": ["laplas", "laplace:scael=0.5", "gaussian:scale=-1"],
        "model": "titcombe:width=wide",
        "epocs": 3,
        "batch_size": 0,
        "threat": "black-bocks",
        "learning_rate": float("nan"),
        "device": "gpu",
    }
    with pytest.raises(ConfigError) as e:
        parse(bad)
    assert sorted(str(e.value).splitlines()) == [
        "batch_size: at least 1 wanted, got 0",
        "defence 'laplas': unknown, did you mean 'laplace'?",
        "device 'gpu': unknown, did you mean 'cpu'?",
        "epocs: unknown, did you mean 'epochs'?",
        "gaussian: Gaussian scale must be >= 0, in units of the activation: got -1.0",
        "laplace.scael: unknown, did you mean 'scale'?",
        "laplace.scale: missing, as in laplace:scale=...",
        "learning_rate: more than 0 wanted, got nan",
        "threat 'black-bocks': unknown, did you mean 'black-box'?",
        "titcombe.width: a whole number wanted, got 'wide'",
    ]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"defence": "nopeek:weight=-1"}, "weight must be >= 0"),
        ({"defence": "nopeek:weight=1", "batch_size": 1}, "at least 2 wanted, got 1"),
        ({"epochs": 0}, "at least 1 wanted, got 0; or give --weights"),
        ({"epochs": "many"}, "epochs: .* wanted, got 'many'"),
        ({"defence": {"scale": 1}}, "'kind: NAME' wanted"),
        ({"defence": "laplace:0.5"}, "laplace:0.5"),
        ({"defence": "laplace:scale=0.5,active"}, "argument=value wanted"),
        ({"model": "no_such_module:Net"}, "cannot import 'no_such_module'"),
        ({"model": "json:Net"}, "json has no 'Net'"),
        ({"model": "torch.nn:Sequentail"}, "did you mean 'Sequential'?"),
        ({"attack": "inverse-network:epochs=0"}, "epochs must be at least 1"),
        ({"threat": "query-free"}, "withholds; granted by black-box, owner-alone"),
        ({"threat": "prediction-api"}, "withholds"),
        ({"attack": "torch.nn:Identity"}, "a subclass of Reconstruction wanted"),
        ({"defence": "math:pi"}, "a subclass of Defence wanted"),
        ({"model": "math:pi"}, "a class or function wanted"),
        ({"model": ".foo:bar"}, "cannot import"),
        ({"data": {"kind": "digits", "args": 3}}, "'args' as name: value wanted"),
        ({"shares": {"owners": None}}, "whole numbers of samples wanted"),
        ({"defence": "laplace:0.5"}, "laplace:argument=0.5 meant?"),
        ({"model": "mine.py:Net"}, "leave out '.py'"),
        ({"defence": "laplace:scale=1,active=never"}, "one of train, serve, both wanted"),
        ({"shares": "owners=ten"}, "whole numbers of samples wanted"),
        ({"order": "stord"}, "order 'stord': unknown, did you mean 'stored'"),
        ({"keep": "bset"}, "keep 'bset': unknown, did you mean 'best'"),
        ({"precision": "bfloat"}, "precision 'bfloat': unknown, did you mean 'bfloat16'"),
        ({"keep": "best", "weights": "w.safetensors"}, "keep: best of no epochs: at least 1"),
        ({"auxiliary": "mnits"}, "data 'mnits': unknown, did you mean 'mnist'"),
        ({"auxiliary": "digits:side=3"}, "digits.side: unknown"),
        ({"auxiliary_samples": -1}, "auxiliary_samples: at least 0 wanted, got -1"),
        ({"model": "lenet:mean=[0.5"}, r"a '\[' without its '\]' in 'lenet:mean=\[0.5'"),
        ({"model": "lenet:mean=0.5]"}, r"a '\]' without its '\['"),
        ({"model": "lenet:mean=]0.5["}, r"a '\]' without its '\['"),
        ({"model": "lenet:mean=[1,x]"}, r"a number, or several in brackets, wanted, got '\[1,x\]'"),
        ({"model": "lenet:mean=[0.5],0.4"}, "argument=value wanted after ':': got '0.4'"),
        ({"halve_every": -1}, "halve_every: at least 0 wanted, got -1"),
        ({"halve_every": "often"}, "halve_every: a whole number wanted, got 'often'"),
    ],
)
def test_what_is_refused_and_how(raw: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(raw)


def test_one_spelling_for_one_meaning() -> None:
    short, long = Part.parse("laplace:scale=5e-1"), Part("laplace", {"scale": 0.5, "site": "cut"})
    assert canonical("defence", short) == canonical("defence", long)
    e = parse({"defence": ["laplace:scale=0.5,active=serve", "nopeek:weight=1"]})
    assert defences_in_words(e) == ("laplace:scale=0.5,active=serve", "nopeek:weight=1")
    assert name_of(e) == "laplace:scale=0.5,active=serve + nopeek:weight=1"
    assert name_of(parse({})) == "undefended"


def test_brackets_keep_several_numbers_together() -> None:
    typed = parse({"model": "cifar10cnn:mean=[0.5,0.25,0.125],deviation=[0.5,0.5,1]"}).model
    given = {"kind": "cifar10cnn", "mean": [0.5, 0.25, 0.125], "deviation": (0.5, 0.5, 1.0)}
    assert typed == parse({"model": given}).model
    assert typed.args == {"mean": (0.5, 0.25, 0.125), "deviation": (0.5, 0.5, 1.0)}
    assert str(typed) == "cifar10cnn:mean=[0.5,0.25,0.125],deviation=[0.5,0.5,1]"
    assert parse({"model": str(typed)}).model == typed
    assert Part.parse("a:b=[[1,2],[3]],c=d").args == {"b": "[[1,2],[3]]", "c": "d"}


def test_the_attackers_data_is_named_as_the_data_is() -> None:
    e = parse({"data": "mnist", "auxiliary": "mnist"})
    assert e.auxiliary == e.data
    assert parse({"auxiliary": None}) == parse({})


def test_a_class_of_the_users_own_needs_only_its_import_path() -> None:
    e = parse({"defence": "cutlayer.defences:Laplace:scale=2"})
    assert e.defence[0].args["scale"] == 2.0


def test_plain_values_come_back_as_the_same_experiment() -> None:
    raw = {"defence": ["laplace:scale=0.5"], "cut": ["act1"], "shares": "owners=5,victims=7"}
    raw |= {"auxiliary": "arrays:path=a.npz", "auxiliary_samples": 9}
    e = parse(raw | {"order": "stored", "keep": "best", "precision": "bfloat16"})
    assert isinstance(e, Experiment)
    assert parse({k: v for k, v in plain(e).items() if v is not None}) == e


def test_yaml_speaks_the_same_language(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("batch-size: 8\ndefence:\n  - laplace:scale=1\n  - {kind: nopeek, weight: 2}\n")
    e = parse(read_yaml(path))
    assert e.batch_size == 8
    assert [p.kind for p in e.defence] == ["laplace", "nopeek"]
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="lines wanted: got list"):
        read_yaml(path)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="YAML wanted"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="cannot read: No such file"):
        read_yaml(tmp_path / "none.yaml")
