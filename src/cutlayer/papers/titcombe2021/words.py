"""Sentences of the page that depend on what was found."""

from ...report.reading import number
from ..findings import Findings
from .leaks import THEIRS, Configuration, Leak, configuration
from .tables_leaks import by
from .tables_leaks import pairs as nearest

COMMAND = "cutlayer reproduce titcombe2021 --data-root DIR"


def headline(findings: Findings) -> list[str]:
    """What is left of the pictures at noise 1.0; nothing before both attackers were run."""
    config = configuration(findings, "authors-code", 0.0, 0.0, "laplace-1")
    blind, seeing = by(config, THEIRS), by(config)
    if blind is None or seeing is None:
        return []
    before, after = blind.value("read"), seeing.value("read")
    lines = [
        f"At noise 1.0 the judge reads {number('read', before)} of the pictures of the paper's "
        f"attacker right (SSIM {number('ssim', blind.value('ssim'))}), and "
        f"{number('read', after)} of those of an attacker trained through the noise (SSIM "
        f"{number('ssim', seeing.value('ssim'))})."
    ]
    best = config.worst("ssim")
    if best is not None and "averaging" in best.attacker:
        count = best.attacker.split()[-2]
        lines[0] += (
            f" Whoever hears the same picture {count} times, and averages, reaches "
            f"{number('read', best.value('read'))} (SSIM {number('ssim', best.value('ssim'))})."
        )
    return lines


def pairs(findings: Findings) -> list[str]:
    """NoPeek beside noise of about the same cost, in words."""
    found = []
    for peek, noise in nearest(findings):
        one, other = by(peek), by(noise)
        assert one is not None
        assert other is not None
        found.append(f"{_said(peek, one)} {_said(noise, other)}")
    return found


def _said(c: Configuration, x: Leak) -> str:
    name = c.words[0].upper() + c.words[1:]
    return (
        f"{name}, at an accuracy of {x.accuracy:.1f} %: class read for "
        f"{number('read', x.value('read'))}, individual found for "
        f"{number('top1_in_class', x.value('top1_in_class'))}."
    )
