"""Files of a federation that another party wrote: nothing runs, and what is wrong is said."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_federation import BASE

from cutlayer.errors import ConfigError
from cutlayer.federation import build
from cutlayer.federation.file import MOST, from_plain, read

WHOLE = yaml.safe_dump(BASE)
RUNS = "touch {}"

TEXTS: dict[str, tuple[str, str]] = {
    "nothing": ("", "lines wanted"),
    "a list": ("[1]", "lines wanted"),
    "text": ("federation", "lines wanted"),
    "two documents": (f"{WHOLE}---\n{WHOLE}", "YAML wanted"),
    "noise": ("\x01\x02", "YAML wanted"),
    "an alias bomb": ("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n" + WHOLE, "without aliases"),
    "an alias of itself": ("a: &a [*a]\n" + WHOLE, "without aliases"),
    "merged from an alias": ("a: &a {x: 1}\n<<: *a\n" + WHOLE, "without aliases"),
    "ten megabytes": ("#" + "x" * 10**7 + "\n" + WHOLE, f"at most {MOST:,} bytes"),
    "100,000 brackets": ("x: " + "[" * 100_000 + "\n" + WHOLE, "YAML wanted"),
    "100,000 braces": ("x: " + "{a: " * 100_000 + "\n" + WHOLE, "YAML wanted"),
    "a list as a key": ("? [a]\n: b\n" + WHOLE, "YAML wanted"),
    "a number of 5,000 digits": (f"{WHOLE}x: {'9' * 5000}\n", "YAML wanted"),
    "the 45th of the month": (f"{WHOLE}x: 2001-01-45\n", "YAML wanted"),
}
TAGS = (
    '!!python/object/apply:os.system ["{}"]',
    '!!python/object/new:os.system ["{}"]',
    '!!python/object/apply:subprocess.check_output [["sh", "-c", "{}"]]',
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
    "!!python/object:cutlayer.wire.identity.Authority {{}}",
)
# One value that is wrong, and what is said about it.
VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "a command as model": ({"model": "os:system"}, "a built-in name wanted"),
    "with its argument": ({"model": "os:system:command=true"}, "a built-in name wanted"),
    "in a mapping": ({"model": {"kind": "os:system", "command": "true"}}, "a built-in name wanted"),
    "and another": (
        {"model": {"kind": "os:system", "args": {"command": "true"}}},
        "a built-in name wanted",
    ),
    "a class of ours": ({"model": "cutlayer.models:mlp"}, "a built-in name wanted"),
    "an unknown model": ({"model": "mpl"}, "did you mean 'mlp'"),
    "an unknown argument": ({"model": "mlp:widht=3"}, "did you mean 'width'"),
    "a number as model": ({"model": 3}, "NAME"),
    "no owners": ({"owners": []}, "at least one name"),
    "names in no list": ({"owners": "north"}, "several in brackets wanted"),
    "a list in a list": ({"owners": [["north"]]}, "text wanted"),
    "a number as name": ({"owners": [1]}, "text wanted"),
    "a way out of the folder": ({"owners": ["../north"]}, "small letters"),
    "two points": ({"owners": [".."]}, "small letters"),
    "a path as server": ({"server": "/etc/passwd"}, "small letters"),
    "a path as session": ({"session": "a/../../b"}, "small letters"),
    "a name of two lines": ({"users": ["a\nb"]}, "small letters"),
    "Greek letters": ({"users": ["νορθ"]}, "small letters"),
    "the same name twice": ({"owners": ["north", "north"]}, "each name once wanted: north"),
    "an owner that serves": ({"server": "north"}, "each name once wanted: north"),
    "a user that owns": ({"users": ["south"]}, "each name once wanted: south"),
    "a side of -1": ({"input_shape": [-1]}, "from 1 to"),
    "a side of 0": ({"input_shape": [0]}, "from 1 to"),
    "true sides": ({"input_shape": [True]}, "from 1 to"),
    "a side too large": ({"input_shape": [2**40]}, "from 1 to"),
    "no sides": ({"input_shape": []}, "1 to 4 sides"),
    "large inputs": ({"input_shape": [2**20] * 4}, "at most 16,777,216 numbers"),
    "half an output": ({"outputs": 0.5}, "from 1 to"),
    "true outputs": ({"outputs": True}, "from 1 to"),
    "no epochs back": ({"epochs": -1}, "at least 0"),
    "true epochs": ({"epochs": True}, "a whole number wanted"),
    "an empty batch": ({"batch_size": 0}, "at least 1"),
    "true batches": ({"batch_size": True}, "a whole number wanted"),
    "a rate of NaN": ({"learning_rate": float("nan")}, "more than 0"),
    "a true rate": ({"learning_rate": True}, "a number wanted"),
    "a seed below 0": ({"seed": -1}, "at least 0"),
    "patience without end": ({"patience": float("inf")}, "seconds above 0"),
    "patience of NaN": ({"patience": float("nan")}, "seconds above 0"),
    "true patience": ({"patience": True}, "seconds above 0"),
    "queries below 0": ({"queries": -1}, "from 0"),
    "messages of 8 EB": ({"message_bytes": 2**63}, "from 1024"),
    "bounds of NaN": ({"bounds": [float("nan"), 1]}, "low < high"),
    "bounds upside down": ({"bounds": [1, 0]}, "low < high"),
    "true bounds": ({"bounds": [False, True]}, "two numbers"),
    "one bound": ({"bounds": [0]}, "two numbers"),
    "no such labels": ({"labels": "servre"}, "did you mean 'server'"),
    "labels in a list": ({"labels": ["server"]}, "unknown"),
    "a schedule in a mapping": ({"schedule": {"a": 1}}, "unknown"),
    "no port": ({"addresses": {"hub": "localhost"}}, "HOST:PORT"),
    "a port below 0": ({"addresses": {"hub": "h:-1"}}, "HOST:PORT"),
    "a port too large": ({"addresses": {"hub": "h:65536"}}, "HOST:PORT"),
    "a stranger's address": ({"addresses": {"nobody": "h:1"}}, "server and relays"),
    "a number as address": ({"addresses": {"hub": 1}}, "text wanted"),
    "an unknown key": ({"epoch": 3}, "epoch: unknown, did you mean 'epochs'"),
    "somebody's defence": ({"defence": ["laplace:scale=0"]}, "defence: unknown"),
    "somebody's data": ({"data": "os:system"}, "data: unknown"),
    "another version": ({"schema_version": 2}, "schema_version: 1 wanted"),
    "no version": ({"schema_version": None}, "schema_version: 1 wanted"),
    "an 0x number of 5,000 digits": ({"outputs": 16**5000}, "outputs: "),
    "bounds beyond all numbers": ({"bounds": [0, 16**400]}, "bounds: "),
    "bounds without end": ({"bounds": [float("-inf"), float("inf")]}, "bounds: "),
    "a port in superscript": ({"addresses": {"hub": "h:²"}}, "HOST:PORT"),
    "a port of 5,000 digits": ({"addresses": {"hub": "h:" + "9" * 5000}}, "HOST:PORT"),
    "a true version": ({"schema_version": True}, "schema_version: 1 wanted"),
    "300 characters": ({"owners": ["a" * 300]}, "small letters"),
    "a point first": ({"owners": [".a"]}, "small letters"),
    "a cut in a cut": ({"cut": [["act1"]]}, "cut"),
}


def known(table: dict[str, Any]) -> list[Any]:
    """The rows of a table."""
    return [pytest.param(*row, id=name) for name, row in table.items()]


def refused(text: str | bytes, folder: Path) -> str:
    """What is said about a file."""
    path = folder / "federation.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert time.monotonic() - started < 20
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("text", "said"), known(TEXTS))
def test_what_is_no_plain_yaml_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(text, tmp_path)


@pytest.mark.parametrize("tag", TAGS)
def test_no_tag_makes_anything_of_python(tag: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for line in ("session: ", "model: ", "x: ", "? "):
        said = refused(f"{WHOLE}{line}{tag.format(RUNS.format(made))}\n", tmp_path)
        assert "YAML wanted" in said
    assert not made.exists()


@pytest.mark.parametrize(("changes", "said"), known(VALUES))
def test_what_is_wrong_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_plain(BASE | changes)
    assert said in str(caught.value)


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    faults = {"outputs": 0, "owners": [], "labels": "x", "epoch": 1, "model": "os:system"}
    lines = refused(yaml.safe_dump(BASE | faults), tmp_path).splitlines()
    for name in faults:
        assert sum(f": {name}: " in line for line in lines) == 1, name


def test_nothing_of_the_file_is_looked_up_outside(tmp_path: Path) -> None:
    inside = tmp_path / "os.py"
    inside.write_text("raise SystemExit('imported')")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for model in ("os:x", "inside:x", "tests.hostile:x", "os", "./os:x"):
            with pytest.raises(ConfigError):
                from_plain(BASE | {"model": model})
    finally:
        os.chdir(here)


NETWORKS: dict[str, tuple[dict[str, Any]]] = {
    "wide": ({"model": "mlp:width=1000000000000"},),
    "narrower than nothing": ({"model": "mlp:width=-3"},),
    "wide behind": (
        {"model": "titcombe:width=1000000000000", "input_shape": [1, 28, 28], "cut": ["act3"]},
    ),
    "layers": ({"model": "stack:layers=fc1000000000000 relu"},),
    "wide, but it would fit": ({"model": "mlp:width=40000"},),
}


@pytest.mark.parametrize("changes", known(NETWORKS))
def test_a_network_that_fits_nowhere_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build.segments(from_plain(BASE | changes), 0)


def test_many_names_take_no_time() -> None:
    started = time.monotonic()
    from_plain(BASE | {"owners": [f"n{i}" for i in range(12_000)]})
    assert time.monotonic() - started < 1


def test_a_number_in_base_60_takes_no_time(tmp_path: Path) -> None:
    started = time.monotonic()
    refused(f"{WHOLE}x: 1{':1' * 40_000}\n", tmp_path)
    assert time.monotonic() - started < 2
