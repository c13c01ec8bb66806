"""The page about He et al.: what it must say with all, some and none of the findings."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from he2019_findings import attack, classifier, folder, keep

from cutlayer.papers.chart import Series, View
from cutlayer.papers.claims import Claim
from cutlayer.papers.drawing import key, svg
from cutlayer.papers.findings import Findings
from cutlayer.papers.he2019 import tables as shown
from cutlayer.papers.he2019.charts import defences, figure_12
from cutlayer.papers.he2019.claims import claims
from cutlayer.papers.he2019.comparison import Table, defended_key
from cutlayer.papers.he2019.page import collect, render, write_page
from cutlayer.papers.he2019.summary import summary
from cutlayer.papers.he2019.tasks import DEFENDED, DROPOUT, tasks
from cutlayer.papers.paper import Options
from cutlayer.papers.tables import Column, Line, words
from cutlayer.papers.tables import Table as Sheet

HOSTILE = "<script>alert(1)</script>"
SECTIONS = (
    *("what", "claims", "picture", "table-3", "table-4", "table-6", "table-8", "figure-12"),
    *("chains", "defences", "guidelines", "disagree", "made"),
)


class Page(HTMLParser):
    """Elements in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything, made up."""
    root = tmp_path_factory.mktemp("data")
    for name in ("MNIST", "cifar-10-batches-bin", "FashionMNIST"):
        (root / name).mkdir()
    return folder(tmp_path_factory.mktemp("results"), tasks(Options(data_root=str(root))))


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return render(collect(Findings(results)))


def judged(results: Path, beginning: str) -> Claim:
    [found] = [c for c in claims(Findings(results)) if c.text.startswith(beginning)]
    return found


def test_every_section_is_there_and_the_contents_lead_to_it(page: str) -> None:
    found = Page(page)
    sections = [str(a["id"]) for a in found.all("section")]
    assert [s for s in sections if s in SECTIONS] == list(SECTIONS)
    ids = {a.get("id") for _, a in found.tags}
    links = [str(a["href"])[1:] for a in found.all("a")]
    assert set(sections) <= set(links) <= ids
    assert len(found.all("svg")) > 20
    assert not [a for a in found.all("img") if not a.get("alt")]


def test_it_fetches_nothing_and_runs_no_script(page: str) -> None:
    found = Page(page)
    assert not found.all("script")
    assert {str(a["src"]).partition(",")[0] for a in found.all("img")} == {"data:image/png;base64"}
    assert "http" not in page.replace("http-equiv", "")
    [policy] = [a["content"] for a in found.all("meta") if a.get("http-equiv")]
    assert policy is not None
    assert "script-src" not in policy
    assert policy.startswith("default-src 'none'; img-src data:; style-src")


def test_with_every_finding_nothing_waits(page: str, results: Path) -> None:
    assert "ot run yet" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    assert not [c for c in claims(Findings(results)) if c.verdict == "not run"]


def test_with_no_finding_everything_waits(tmp_path: Path) -> None:
    assert {c.verdict for c in claims(Findings(tmp_path))} == {"not run"}
    page = render(collect(Findings(tmp_path)))
    assert page.count("not run yet") > 40
    assert "20 of 20 rows" in page


def test_figures_lie_beside_the_page(results: Path, tmp_path: Path) -> None:
    written = write_page(results, tmp_path).parent
    names = {p.name for p in written.iterdir()}
    assert {"index.html", "figure-12.png", "figure-12.csv", "defence-ReLU2-dropout.png"} <= names
    assert "pictures-cifar10-ReLU22.png" in names
    assert (
        "SSIM,attacker who knows the defence,0.6"
        in (written / "defence-ReLU2-dropout.csv").read_text()
    )


def test_what_comes_from_a_finding_is_escaped(tmp_path: Path) -> None:
    keep(tmp_path, "mnist/white-box/conv1", attack(30, 0.9, flags=[HOSTILE]))
    page = render(collect(Findings(tmp_path)))
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_full_run_says_so(tmp_path: Path) -> None:
    keep(tmp_path, "mnist/classifier/seed-0", classifier("mnist", epochs=200))
    page = render(collect(Findings(tmp_path)))
    assert "--workers 2 --full</code>" in page
    assert "50 passes over" in page
    keep(tmp_path, "mnist/classifier/seed-0", classifier("mnist", epochs=8))
    assert "--full" not in render(collect(Findings(tmp_path)))


@pytest.mark.parametrize(
    ("blind", "aware", "verdict"),
    [
        ((6.9, 0.27), (15.4, 0.57), "in part"),
        ((6.9, 0.27), (7.0, 0.30), "reproduced"),
        ((6.9, 0.27), (10.2, 0.20), "in part"),  # one of their two lines is enough
        ((6.9, 0.40), (15.4, 0.57), "refuted"),
    ],
)
def test_dropout_hides_only_what_neither_attacker_gets(
    tmp_path: Path, blind: tuple[float, float], aware: tuple[float, float], verdict: str
) -> None:
    for pair, knows in ((blind, False), (aware, True)):
        keep(tmp_path, defended_key("ReLU2", "dropout", 0.6, aware=knows), attack(*pair))
    found = judged(tmp_path, "Dropout of 0.6")
    assert found.verdict == verdict
    assert f"{aware[0]} dB" in found.sentence


def test_noise_is_judged_where_the_network_is_still_useful(tmp_path: Path) -> None:
    for site, law, strengths in DEFENDED:
        for b in strengths:
            for aware in (False, True):
                accuracy, ssim = (0.99, 0.6) if b < 1 else (0.5, 0.1)
                keep(
                    tmp_path,
                    defended_key(site, law, b, aware=aware),
                    attack(12, ssim + 0.2 * aware, accuracy=accuracy),
                )
    found = judged(tmp_path, "Noise")
    assert found.verdict == "reproduced"
    assert "8 of 20 strengths" in found.sentence
    assert "is 0.58 by their attacker and 0.78 by one who knows" in found.sentence
    keep(
        tmp_path,
        defended_key("input", "laplace", 0.2, aware=False),
        attack(9, 0.35, accuracy=0.96),
    )
    assert judged(tmp_path, "Noise").verdict == "refuted"


def test_dropout_costs_nothing_only_if_one_who_knows_sees_nothing(tmp_path: Path) -> None:
    for rate in DROPOUT:
        for aware in (False, True):
            ssim = (0.6 if aware else 0.5) - 0.5 * rate
            found = attack(9, ssim, accuracy=0.97 if rate < 0.65 else 0.9)
            keep(tmp_path, defended_key("ReLU2", "dropout", rate, aware=aware), found)
    claim = judged(tmp_path, "Dropout at ReLU2")
    assert claim.verdict == "in part"
    assert "0.6 leaks least: it has 97.0 % and an SSIM of 0.18" in claim.sentence


def test_layers_are_judged_by_the_papers_line(tmp_path: Path) -> None:
    layers = ("conv1", "ReLU1", "pool1", "conv2", "ReLU2", "pool2", "fc1", "fc1act", "fc2")
    for layer in (*layers, "fc2act"):
        ssim = 0.05 if layer.startswith("fc") else 0.5
        keep(tmp_path, f"mnist/layers/{layer}", attack(10, ssim))
    assert judged(tmp_path, "Query-free works").verdict == "reproduced"
    keep(tmp_path, "mnist/layers/fc1", attack(10, 0.5))
    assert judged(tmp_path, "Query-free works").verdict == "in part"
    keep(tmp_path, "mnist/layers/pool2", attack(10, 0.1))
    assert judged(tmp_path, "Query-free works").verdict == "refuted"


def test_a_claim_says_what_has_not_been_run(tmp_path: Path) -> None:
    keep(tmp_path, "mnist/white-box/conv1-published", attack(39, 0.999))
    assert judged(tmp_path, "White-box").sentence == "Waits for mnist/white-box/conv1."
    keep(tmp_path, "mnist/white-box/conv1", attack(100, 1.0))
    found = judged(tmp_path, "White-box")
    assert found.verdict == "reproduced"
    assert found.sentence.endswith("Not run yet: conv11 of CIFAR-10.")


def test_the_shadow_must_win_at_conv1_and_nowhere_else(tmp_path: Path) -> None:
    for cut, network, shadow in (("conv1", 28.9, 40.7), ("ReLU2", 20.6, 15.0)):
        keep(tmp_path, f"mnist/black-box/{cut}-same-set", attack(network, 0.8))
        keep(tmp_path, f"mnist/by-queries/{cut}", attack(shadow, 0.8))
    assert judged(tmp_path, "An inverse network").verdict == "reproduced"
    keep(tmp_path, "mnist/by-queries/ReLU2", attack(30.0, 0.8))
    assert judged(tmp_path, "An inverse network").verdict == "in part"


def test_a_curve_that_is_not_whole_says_what_is_missing(tmp_path: Path) -> None:
    keep(tmp_path, defended_key("ReLU2", "dropout", 0.6, aware=True), attack(15, 0.57))
    keep(tmp_path, defended_key("ReLU2", "dropout", 0.9, aware=False), attack(6, 0.05))
    [chart] = [c for c in defences(Findings(tmp_path)) if c.name == "defence-ReLU2-dropout"]
    assert chart.missing == "0.1, 0.3, 0.5, 0.6, 0.7, 0.9"
    published, blind, aware, line = chart.views[0].series
    assert (len(published.x), list(blind.x), list(aware.x)) == (10, [0.9], [0.6])
    assert aware.y == [pytest.approx(0.55)]
    assert line.y == [0.3, 0.3]
    [layers] = figure_12(Findings(tmp_path))
    assert layers.missing.split(", ")[-1] == "fc2act"


def test_who_offers_a_table_finds_it_on_the_page_and_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offer(findings: Findings) -> list[Table]:
        columns = (Column("Factor", ("factor",), text=True), Column("SSIM", ("ssim",)))
        sheet = Sheet("leaks", "by factor", columns, (Line((words("depth|width"), words("0.5"))),))
        return [Table("leaking", "What leaks", "Why.", sheets=(sheet,))]

    monkeypatch.setattr(shown, "OFFERS", (*shown.OFFERS, offer))
    assert "| depth\\|width | 0.5 |" in summary(tmp_path)
    written = write_page(tmp_path, tmp_path / "page")
    assert 'href="#leaking"' in written.read_text()
    assert "depth|width" in written.read_text()
    assert (written.parent / "leaks.csv").read_text() == "factor,ssim,note\ndepth|width,0.5,\n"


# Drawn without a script


def view(*series: Series, **fields: object) -> View:
    return View("v", "strength", "SSIM", series, y_range=(0, 1), **fields)  # type: ignore[arg-type]


def places(drawn: str) -> list[tuple[float, ...]]:
    [points] = re.findall(r'points="([^"]*)"', drawn)
    return [tuple(map(float, p.split(","))) for p in points.split()]


def test_points_are_drawn_to_scale() -> None:
    drawn = svg(view(Series("a", "#123456", [0, 1, 2], [0, 0.5, 1])), width=300, height=200)
    low, middle, high = places(drawn)
    assert low[0] < middle[0] < high[0]
    assert middle == pytest.approx([(a + b) / 2 for a, b in zip(low, high, strict=True)], abs=0.1)
    assert high[1] == 10  # above is less in SVG
    assert "color:#123456" in drawn


def test_what_is_off_the_scale_is_drawn_at_its_end() -> None:
    beyond = places(svg(view(Series("a", "ink", [0, 1], [-5, 7]))))
    assert beyond == places(svg(view(Series("a", "ink", [0, 1], [0, 1]))))


def test_intervals_and_words_are_drawn_and_escaped() -> None:
    series = Series("a", "muted", [0, 1], [0.2, 0.4], [0.1, 0.3], [0.3, 0.5], text=("a<b", "c"))
    drawn = svg(view(series, x_names=("one & two", "three")))
    assert drawn.count('class="interval"') == 2
    assert "<title>a&lt;b</title>" in drawn
    assert "one &amp; two" in drawn
    assert "var(--muted)" in drawn


def test_a_view_of_nothing_can_be_drawn() -> None:
    for empty in (View("v", "x", "y", ()), View("v", "x", "y", (Series("a", "ink", [1], [1]),))):
        assert svg(empty).startswith("<svg")


def test_a_legend_shows_the_line_and_its_mark() -> None:
    dashed = key(Series("a", "ink", [], [], line="dash", symbol=""))
    assert "6 4" in dashed
    assert "mark" not in dashed
    assert 'class="mark"' in key(Series("a", "ink", [], [], symbol="square"))
