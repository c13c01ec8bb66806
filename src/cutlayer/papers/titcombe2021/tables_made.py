"""Tables of how the reproduction was made: settings, time, machines, how far it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..findings import Findings, finding
from ..paper import Options
from ..tables import Column, Line, Mark, Shown, Table, words
from ..task import kind_of, place_of
from .settings import NAMES, Name, classifier
from .tasks import tasks

KINDS = {
    "classifier": "classifiers",
    "published": "attacks as published",
    "adaptive": "attacks that train through the defence",
    "server-tuned": "servers trained further under noise",
    "rounds": "attacks on one epoch's messages",
}


@dataclass(frozen=True)
class Progress:
    """How far the reproduction is.

    done of planned: tasks that need MNIST alone. further: findings on other data. quick: a smoke
    run on 28×28 digits, whose numbers mean nothing.
    """

    done: int
    planned: int
    further: int
    quick: bool
    table: Table


def progress(findings: Findings, settings: Sequence[Name]) -> Progress:
    """Which findings are there, against the list of tasks."""
    there = {key for key, _, _ in findings.seconds()}
    there -= {k for k in there if place_of(k) in NAMES and place_of(k) not in settings}
    quick = _is_quick(findings, there)
    keys = [t.key for t in tasks(tuple(settings), Options(quick=quick))]
    lines = []
    every = [*keys, *sorted(there - set(keys))]
    for place, kind in dict.fromkeys((place_of(k), kind_of(k)) for k in every):
        wanted = [k for k in every if (place_of(k), kind_of(k)) == (place, kind)]
        done = sum(k in there for k in wanted)
        mark: Mark = "missing" if done < len(wanted) else ""
        lines.append(
            Line(
                (
                    words(place),
                    words(KINDS.get(kind, kind)),
                    Shown(f"{done} of {len(wanted)}", (done, len(wanted)), mark=mark),
                )
            )
        )
    columns = (
        Column("Setting or data", ("place",), text=True),
        Column("What", ("kind",), text=True),
        Column("Run", ("run", "wanted")),
    )
    done = sum(k in there for k in keys)
    table = Table("progress", "What has been run", columns, tuple(lines))
    return Progress(done, len(keys), len(there - set(keys)), quick, table)


def _is_quick(findings: Findings, there: Iterable[str]) -> bool:
    for key in sorted(there):
        if kind_of(key) == "classifier":
            found = findings.get(key)
            return found is not None and found["record"]["data"].get("name") == "digits"
    return False


def seconds(findings: Findings) -> Table:
    """Wall and CPU hours by kind of task."""
    totals: dict[tuple[str, str], list[float]] = {}
    for key, wall, cpu in findings.seconds():
        total = totals.setdefault((place_of(key), kind_of(key)), [0, 0.0, 0.0, 0.0])
        total[0] += 1
        total[1] += wall
        total[2] += cpu
        total[3] = max(total[3], wall)
    lines = [
        Line(
            (
                words(place),
                words(KINDS.get(kind, kind)),
                Shown(f"{n:.0f}", (int(n),)),
                _duration(wall),
                _duration(cpu),
                _duration(wall / n),
                _duration(longest),
            )
        )
        for (place, kind), (n, wall, cpu, longest) in totals.items()
    ]
    if lines:
        n, wall, cpu = (sum(t[i] for t in totals.values()) for i in range(3))
        longest = max(t[3] for t in totals.values())
        ends = (_duration(wall), _duration(cpu), _duration(wall / n), _duration(longest))
        head = (words("all"), words(""), Shown(f"{n:.0f}", (int(n),)))
        lines.append(Line((*head, *ends), reference=True))
    columns = (
        Column("Setting or data", ("place",), text=True),
        Column("What", ("kind",), text=True),
        Column("Tasks", ("tasks",)),
        Column("Wall, all", ("wall_seconds",)),
        Column("CPU, all", ("cpu_seconds",)),
        Column("Wall, each", ("wall_seconds_each",)),
        Column("Longest", ("wall_seconds_longest",)),
    )
    return Table(
        "seconds", "Time; tasks run side by side, so wall times overlap", columns, tuple(lines)
    )


def _duration(found: float) -> Shown:
    if found < 90:
        return Shown(f"{found:.1f} s", (found,))
    if found < 5400:
        return Shown(f"{found / 60:.1f} min", (found,))
    return Shown(f"{found / 3600:.1f} h", (found,))


def environments(findings: Findings) -> list[tuple[str, str]]:
    """Distinct facts of the machines that the tasks ran on, and the span of time."""
    facts: dict[tuple[str, str], None] = {}
    ends: list[str] = []
    for key, _, _ in findings.seconds():
        kept = finding(key, findings.folder)
        for name, fact in (kept or {}).get("environment", {}).items():
            if name == "finished":
                ends.append(str(fact))
            elif name != "host" and fact is not None:
                facts[str(name), str(fact)] = None
    if ends:
        facts["finished", f"{min(ends)} to {max(ends)}"] = None
    return list(facts)


def settings_table() -> Table:
    """What the text says beside what the code did, and so our two settings."""
    text = classifier("paper", Options(), noise=0.5, weight=0.5)
    code = classifier("authors-code", Options(), noise=0.5, weight=0.5)
    plain = classifier("authors-code", Options())
    rows = (
        ("images for training", "first 40,000 of MNIST's training set", "the same"),
        (
            "images for reported accuracy",
            "“a validation dataset”",
            "first 5,000 of MNIST's test set",
        ),
        (
            "optimiser and rate",
            f"Adam, {text['learning_rate']:g}",
            f"Adam, {code['learning_rate']:g}",
        ),
        (
            "batch",
            f"{text['batch_size']}",
            f"{plain['batch_size']}, and {code['batch_size']} with NoPeek",
        ),
        ("epochs", f"{text['epochs']}", f"{code['epochs']}"),
        ("order of the images", "shuffled (the text is silent)", "as stored, never shuffled"),
        (
            "epoch that is kept",
            "the last (the text is silent)",
            "the best on the images whose accuracy is then reported",
        ),
        (
            "NoPeek's distance correlation",
            "of distances, on the message as it is sent (algorithm 1)",
            "of squared distances, on the message before the noise",
        ),
        (
            "pixels, output",
            "in [0, 1], no softmax before the loss",
            "normalised by MNIST's mean and deviation; a softmax before the cross-entropy",
        ),
        (
            "noise",
            "after training (section 4), or in training too (appendix B)",
            "in training and after, for all classifiers of table 1",
        ),
        (
            "the attacker",
            "trained like the classifier; size and architecture “similar”",
            "an affine map, Adam 0.0001, batches of 128, 10 epochs; learns from messages without "
            "noise",
        ),
    )
    columns = (
        Column("", ("what",), text=True),
        Column("The text; our setting “paper”", ("text",), text=True),
        Column("The public code; our setting “authors-code”", ("code",), text=True),
    )
    return Table("settings", "", columns, tuple(Line(tuple(map(words, r))) for r in rows))


def attackers_table() -> Table:
    """The two attackers that the page compares."""
    rows = (
        ("knows", "the owner's layers", "the owner's layers and the defence"),
        ("has", "5,000 images of the same kind", "the same 5,000 images"),
        (
            "learns from",
            "messages without noise, whatever the defence",
            "messages as they are sent; new noise in every epoch",
        ),
        (
            "decoder",
            "a dense layer and four transposed convolutions with nothing between them: affine",
            "transposed convolutions with non-linearities between them",
        ),
        ("stops", "after 10 epochs", "when its own validation images no longer improve"),
        ("hears", "one message of each picture", "one, or the mean of 16 or 256"),
    )
    columns = (
        Column("", ("what",), text=True),
        Column("The paper's attacker", ("paper",), text=True),
        Column("An attacker trained through the noise", ("ours",), text=True),
    )
    return Table("attackers", "", columns, tuple(Line(tuple(map(words, r))) for r in rows))
