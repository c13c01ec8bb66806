"""He et al. 2019 and 2020 as data: complete, as printed, and of cuts that our networks have."""

from collections import Counter

import pytest
import torch

from cutlayer.models import MODELS
from cutlayer.papers.he2019.curves import CURVES, CUT_BEHIND_INPUT, Defended, curves, points
from cutlayer.papers.he2019.published import (
    ACCURACY,
    CUTS,
    DEFENCE_SETTINGS,
    FIGURE_12,
    FIRST_OF_CLASS,
    MODEL,
    REPEATED,
    SETTINGS,
    SHADOW_SETTINGS,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_6,
    TABLE_7,
    TABLE_8,
    Cell,
    cells,
)
from cutlayer.split import cut_points

TABLES = (TABLE_3, TABLE_4, TABLE_6, TABLE_8)
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
LOGGED = [p for curve in CURVES for p in curve.points]


def of(table: tuple[Cell, ...], case: str, cut: str) -> tuple[float, float]:
    [found] = [c for c in table if (c.case, c.cut) == (case, cut)]
    return found.psnr, found.ssim


def logged(figure: int, cut: str, law: str) -> tuple[Defended, ...]:
    [found] = [
        c.points
        for c in CURVES
        if (c.figure, c.points[0].cut, c.points[0].law) == (figure, cut, law)
    ]
    return found


def test_tables_have_every_cell_once_and_every_shading() -> None:
    assert [len(t) for t in TABLES] == [5, 15, 20, 10]
    for table in TABLES:
        assert {(c.data, c.cut) for c in table} == set(CUTS)
        assert len({(c.case, c.cut) for c in table}) == len(table)
    assert [sum(c.shaded for c in t) for t in TABLES] == [1, 3, 9, 1]  # counted in the paper


def test_corners_of_the_tables_are_as_printed() -> None:
    assert [(c.psnr, c.ssim) for c in (TABLE_3[0], TABLE_3[-1])] == [
        (39.69, 0.9969),
        (13.38, 0.1625),
    ]
    assert of(TABLE_4, "same set", "conv1") == (39.64, 0.9887)
    assert of(TABLE_4, "random", "ReLU32") == (12.37, 0.0440)
    assert of(TABLE_6, "same set, same net", "conv1") == (17.60, 0.7423)
    assert of(TABLE_6, "same set, other net", "ReLU22") == (12.46, 0.2714)
    assert of(TABLE_6, "other set, other net", "ReLU32") == (11.47, 0.0793)
    assert of(TABLE_8, "inverse network", "conv1") == (39.64, 0.9887)
    assert of(TABLE_8, "shadow", "ReLU32") == (12.61, 0.1145)
    assert [sum(row.values()) for row in TABLE_7.values()] == [3, 2, 1]
    assert (len(FIGURE_12), FIGURE_12[0].psnr, FIGURE_12[-1].psnr) == (11, 22.00, 6.29)


def test_every_cut_is_one_of_our_networks() -> None:
    named = {(c.data, c.cut) for t in (*TABLES, REPEATED) for c in t}
    named |= {(s.data, s.cut) for s in TABLE_5}
    named |= {(s.data, s.cut) for s in (*SETTINGS, *SHADOW_SETTINGS, *DEFENCE_SETTINGS)}
    named |= {(p.data, p.cut) for p in LOGGED if p.cut != "input"} | set(CUT_BEHIND_INPUT.items())
    named |= {("mnist", layer.layer) for layer in FIGURE_12}
    named -= {("mnist", "fc3"), ("cifar10", "fc2")}  # the last layers: nothing is behind them
    for data, shape in SHAPES.items():
        model = MODELS[MODEL[data]](shape, 10)
        ours = {point.name for point in cut_points(model, torch.rand(1, *shape))}
        assert {cut for d, cut in named if d == data} <= ours


def test_curves_are_complete_and_start_from_the_undefended_network() -> None:
    assert Counter(c.figure for c in CURVES) == {9: 6, 10: 6, 12: 4, 13: 5, None: 6}
    lengths = {"gaussian": 19, "laplace": 19, "dropout": 10, "noise_gen_opt": 6}
    for curve in CURVES:
        first = curve.points[0]
        assert len(curve.points) == lengths[first.law]
        assert (first.strength, first.accuracy) == (0.0, ACCURACY[first.data])
        strengths = [p.strength for p in curve.points]
        assert strengths == sorted(set(strengths))
    assert logged(9, "ReLU2", "gaussian")[-1].psnr == 6.65
    assert logged(10, "input", "laplace")[-1].ssim == 0.0402
    assert logged(13, "pool2", "dropout")[-1].accuracy == 0.4612


def test_every_dropout_curve_has_its_settings() -> None:
    known = {(s.data, s.cut) for s in DEFENCE_SETTINGS}
    known |= {(data, "input") for data, cut in CUT_BEHIND_INPUT.items() if (data, cut) in known}
    assert {(p.data, p.cut) for p in LOGGED} <= known


def test_what_is_said_about_the_printed_numbers_holds() -> None:
    case = "other set, other net", "same set, other net"
    for cell in (c for c in REPEATED if c.case == "query-free"):
        assert cell.psnr == of(TABLE_6, case[0], cell.cut)[0]
        assert cell.ssim == round(of(TABLE_6, case[1], cell.cut)[1], 2)
        assert cell.ssim != round(of(TABLE_6, case[0], cell.cut)[1], 2)
    same = [
        (of(TABLE_4, "same set", cut)[0], of(TABLE_8, "inverse network", cut)[0]) for _, cut in CUTS
    ]
    assert [(a, b) for a, b in same if a != b] == [(49.88, 49.87), (15.42, 15.41)]
    assert max(c.psnr for c in TABLE_6 if c.cut == "conv1") < 21.9


def test_no_logged_rate_of_dropout_does_what_the_text_says() -> None:
    mnist = (*logged(9, "ReLU2", "dropout"), *logged(13, "ReLU2", "dropout"))
    assert not [p for p in mnist if p.ssim < 0.25 and p.accuracy > 0.95]
    near = [(p.accuracy, p.ssim) for p in mnist if p.strength in (0.6, 0.7)]
    assert near == [(0.9671, 0.2792), (0.9391, 0.2293), (0.9658, 0.2631), (0.9417, 0.2306)]
    cifar = logged(10, "ReLU22", "dropout")
    assert not [p for p in cifar if p.ssim < 0.25 and ACCURACY["cifar10"] - p.accuracy < 0.008]


def test_the_texts_limits_of_noise_hold_on_the_input_only() -> None:
    def last(cut: str, law: str) -> float:
        return max(p.strength for p in logged(9, cut, law) if p.accuracy > 0.95)

    assert (last("input", "gaussian"), last("input", "laplace")) == (0.7, 0.4)
    assert (last("ReLU2", "gaussian"), last("ReLU2", "laplace")) == (0.9, 0.6)


def test_the_attacked_images_are_one_of_each_class() -> None:
    assert len(set(FIRST_OF_CLASS)) == 10


def test_a_row_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        cells("white-box", "39.69/0.9969 15.10/0.5998")
    with pytest.raises(ValueError, match="unpack"):
        points("mnist", "ReLU2", "dropout", "0.1:0.9906/9.74")


def test_a_block_without_a_figure_has_none() -> None:
    [first, second] = curves(
        "mnist", "log", "fc1 dropout\n0:1/2/3\n\nfc1 dropout, figure 9\n1:1/2/3"
    )
    assert (first.figure, second.figure, second.points[0].strength) == (None, 9, 1.0)
