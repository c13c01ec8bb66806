"""The reproduction of He et al.: what is run, how it is graded, and the page about it."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from cutlayer.config import parse
from cutlayer.papers.findings import Findings
from cutlayer.papers.he2019.attack import PublishedLikelihood
from cutlayer.papers.he2019.measure import published_ssim
from cutlayer.papers.he2019.page import beside, collect, render
from cutlayer.papers.he2019.paper import PAPER
from cutlayer.papers.he2019.perform import perform
from cutlayer.papers.he2019.published import CUTS, FIGURE_12
from cutlayer.papers.he2019.summary import BEGIN, END, summary, write_summary
from cutlayer.papers.he2019.tables import tables
from cutlayer.papers.he2019.tasks import published_setting, tasks
from cutlayer.papers.networks import network_file
from cutlayer.papers.paper import Options
from cutlayer.threat import Observed, View, build_view, threat_model


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("data")
    for folder in ("MNIST", "cifar-10-batches-bin", "FashionMNIST"):
        (root / folder).mkdir()
    return str(root)


# What is run


def test_every_cell_of_every_table_has_a_task(data_root: str) -> None:
    keys = [t.key for t in tasks(Options(data_root=data_root))]
    assert len(set(keys)) == len(keys)
    for data, cut in CUTS:
        assert {f"{data}/white-box/{cut}", f"{data}/white-box/{cut}-published"} <= {*keys}
        for case in ("same-set", "same-distribution", "random"):
            assert {f"{data}/black-box/{cut}-{case}{more}" for more in ("", "-auto")} <= {*keys}
        for its in ("same-set", "other-set"):
            assert {f"{data}/query-free/{cut}-{its}-{net}-net" for net in ("same", "other")} <= {
                *keys
            }
        assert f"{data}/by-queries/{cut}" in keys
    assert {f"mnist/layers/{point.layer}" for point in FIGURE_12[:-1]} <= {*keys}
    assert "mnist/chain/4-parties-attacked-by-2-4-query-free" in keys
    assert {"mnist/defence/ReLU2-dropout-0.6", "mnist/defence/input-laplace-5-unaware"} <= {*keys}
    assert "mnist/query-free/conv1-same-set-same-net-seed-2" in keys
    assert "cifar10/query-free/conv11-same-set-same-net-seed-2" not in keys


def test_every_task_is_an_experiment_and_comes_after_its_network(data_root: str) -> None:
    every = tasks(Options(data_root=data_root))
    before: set[str] = set()
    for task in every:
        e = parse(task.experiment)
        assert e.threads == 1
        assert set(task.after) <= before
        before.add(task.key)
    assert len({t.address for t in every}) == len(every)


def test_what_is_not_there_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    keys = [t.key for t in tasks(Options(data_root=str(tmp_path)))]
    assert {k.split("/")[0] for k in keys} == {"mnist"}
    assert not [k for k in keys if "other-domain" in k]


def test_another_network_makes_other_attacks(data_root: str) -> None:
    one, two = (
        {t.key: t.address for t in tasks(Options(data_root=data_root, precision=p))}
        for p in ("float32", "bfloat16")
    )
    changed = {k.split("/")[0] for k in one if one[k] != two[k]}
    assert changed == {"cifar10"}  # LeNet is trained in float32 anyway


def test_a_full_run_is_as_long_as_theirs_and_no_task_of_the_other(data_root: str) -> None:
    usual, full = (
        {t.key: t for t in tasks(Options(data_root=data_root, full=f))} for f in (False, True)
    )
    assert full.keys() == usual.keys()
    assert not {t.address for t in full.values()} & {t.address for t in usual.values()}
    for data, epochs in (("mnist", 200), ("cifar10", 50)):
        raw = full[f"{data}/classifier/seed-0"].experiment
        assert (raw["epochs"], raw["halve_every"]) == (epochs, 20)
    learned = [t.experiment["attack"].get("args", {}) for t in full.values() if t.run == "attack"]
    assert {args["epochs"] for args in learned if "epochs" in args} == {50}
    for task in full.values():
        parse(task.experiment)
    search = "mnist/white-box/ReLU2-published"
    assert full[search].experiment["attack"] == usual[search].experiment["attack"]
    assert "halve_every" not in usual["mnist/classifier/seed-0"].experiment


def test_the_device_reaches_every_experiment(data_root: str) -> None:
    every = tasks(Options(data_root=data_root, device="cuda"))
    assert {t.experiment["device"] for t in every} == {"cuda"}
    assert [t.address for t in every] == [
        t.address for t in tasks(Options(data_root=data_root))
    ]  # found on either


# How it is graded


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (3, 3, 32, 32)])
def test_their_ssim_is_what_their_call_of_scikit_image_gives(shape: tuple[int, ...]) -> None:
    x = images(*shape)
    x_hat = (0.4 * x + 0.2 * images(*shape, seed=1)).clamp(0, 1)
    wanted = [
        structural_similarity(
            a.double().numpy(),
            b.double().numpy(),
            channel_axis=0,
            data_range=float(b.double().max() - b.double().min()),
        )
        for a, b in zip(x, x_hat, strict=True)
    ]
    torch.testing.assert_close(
        published_ssim(x, x_hat), torch.tensor(wanted, dtype=torch.float32), rtol=0, atol=1e-6
    )


# The attack as published


def view(segment: nn.Module, x: Tensor) -> View:
    y = torch.zeros(len(x), dtype=torch.long)
    return build_view(
        threat_model("white-box"),
        auxiliary=(x, y),
        validation=(x, y),
        send=lambda t, m: segment(t)[:, None],
        stochastic=False,
        owner_segment=segment,
        far_segment=nn.Identity(),
        defence=(),
        repeats=1,
        classes=1,
    )


def test_the_published_search_does_not_mix_victims() -> None:
    torch.manual_seed(0)
    segment, x = nn.Conv2d(3, 32, 3).eval(), images(5, 3, 9, 9)
    attack = PublishedLikelihood(
        steps=300,
        learning_rate=0.05,
        total_variation=0.0,
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
    ).fit(view(segment, x))
    messages = segment(x).detach()[:, None]
    together = attack.reconstruct(Observed(messages))
    alone = torch.cat([attack.reconstruct(Observed(z)) for z in messages.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert (together - x).square().mean() < 0.3 * x.var()


def test_it_starts_in_the_middle_of_their_pixels() -> None:
    segment, x = nn.Identity(), torch.full((2, 1, 4, 4), 0.5)
    attack = PublishedLikelihood(steps=1, learning_rate=1e-3, total_variation=0.0)
    found = attack.fit(view(segment, x)).reconstruct(Observed(x[:, None]))
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"learning_rate": 0.0}])
def test_what_the_published_search_refuses(arguments: dict[str, float]) -> None:
    usual = {"steps": 5, "learning_rate": 0.1, "total_variation": 1.0}
    with pytest.raises(ValueError, match="at least one step and a learning rate > 0"):
        PublishedLikelihood(**(usual | arguments))  # type: ignore[arg-type]


def test_their_settings_by_cut() -> None:
    assert published_setting("cifar10", "ReLU22").total_variation == 10
    assert published_setting("mnist", "conv1").steps == 2000


# Through the whole machinery


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("he2019")
    context = {
        "settings": [],
        "options": asdict(Options(quick=True)),
        "store": str(folder / "runs"),
        "results": str(folder / "results"),
    }
    keys = ("classifier/seed-0", "white-box/conv1-published", "black-box/conv1-same-set")
    for key in keys:
        perform(f"mnist/{key}", context)
        perform(f"mnist/{key}", context)  # done: nothing is done again
    return folder / "results"


def test_the_network_is_kept_beside_the_findings(results: Path) -> None:
    assert network_file(results, "mnist").stat().st_size < 1e6
    kept = Findings(results).get("mnist/classifier/seed-0")
    assert kept is not None
    assert kept["accuracy_on_test"]["n"] > 500
    attack = Findings(results).get("mnist/black-box/conv1-same-set")
    assert attack is not None
    assert attack["record"]["utility"]["accuracy"]["value"] > 0.2
    assert attack["record"]["threat"]["auxiliary_from"].endswith("the training data")
    assert len(attack["ten"]["victims"]) == 10


def test_the_page_shows_what_was_run_and_says_what_was_not(results: Path) -> None:
    page = render(collect(Findings(results)))
    assert page.count("data:image/png") == 6  # two attacks, one of them in two tables; originals
    assert "not run yet" in page
    assert "A smoke run on small digits" in page
    assert "39.69 dB" in page
    rows = {t.name: t.rows for t in tables(Findings(results))}
    assert [beside(r) for r in rows["table-3"]][1:] == ["not run yet"] * 4
    assert "weaker by" in beside(rows["table-3"][0])


def test_an_empty_folder_makes_a_page_too(tmp_path: Path) -> None:
    path = PAPER.write_page(tmp_path / "none", tmp_path / "out", [])
    assert path.read_text().count("not run yet") > 40


def test_the_summary_in_the_docs_is_that_of_the_records(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    page = tmp_path / "he2019.md"
    page.write_text((root / "docs/he2019.md").read_text())
    write_summary(root / "results/he2019", page)
    assert page.read_text() == (root / "docs/he2019.md").read_text()


def test_the_summary_stands_between_its_markers(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_summary(results, page)
    text = page.read_text()
    assert text == f"before\n{summary(results)}after\n"
    assert "| mnist, conv1 | white-box | 39.69 / 0.997 | as published |" in text
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match=r"a line .* wanted: got neither"):
        write_summary(results, page)
