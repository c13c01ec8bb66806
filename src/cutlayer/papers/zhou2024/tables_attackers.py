"""What becomes of the defences with other attackers."""

from ..findings import Findings
from ..tables import Column, Line, Shown, Table, difference, value, words
from .comparison import ATTACKER_NAMES, attacked
from .defences import named
from .section import WAITS, Section
from .settings import NAMES
from .tasks import ALWAYS, HEARD, OTHERS, SHIFTED, SHIFTED_DEFENCES, TRANSFERRED, transfer_key


def transfer_section(findings: Findings) -> Section:
    about = (
        "Their figure 5: attackers of four architectures, none of them the defender's surrogate, "
        "with four losses, on MNIST, with and without LPA; and one who looks at the three largest "
        "entries alone. The perceptron learns for forty epochs, the others for six."
    )
    columns = (
        Column("Network, loss", ("network", "loss"), text=True),
        Column("without", ("error_without",), "Error"),
        Column("with LPA", ("error_with",), "Error"),
        Column("grows", ("factor",), "Error", "×"),
        Column("without", ("ssim_without",), "SSIM"),
        Column("with LPA", ("ssim_with",), "SSIM"),
    )
    lines = [_pair(findings, network, loss) for network, loss in OTHERS]
    sheet = Table("transfer", "", columns, tuple(lines))
    return Section("transfer", "Other architectures, other losses", about, (sheet,))


def _pair(findings: Findings, network: str, loss: str) -> Line:
    head = Shown(f"{network}, {loss}", (network, loss))
    found = [attacked(findings, transfer_key(n, network, loss)) for n in TRANSFERRED]
    bare, poisoned = found
    if bare is None or poisoned is None:
        return Line((head, *[WAITS] * 5))
    return Line(
        (
            head,
            value(bare.error[0], 4),
            value(poisoned.error[0], 4),
            value(poisoned.error[0] / bare.error[0], 2),
            value(bare.ssim, 3),
            value(poisoned.ssim, 3),
        )
    )


def adaptive_section(findings: Findings) -> Section:
    about = (
        "Somebody who learned from clean vectors and hears defended ones is caught unawares; such "
        "numbers say nothing about a competent attacker. Then: fifty answers to one question, "
        "which tell nothing new of a defence that draws by a key, as LPA and its generator do; and "
        "attackers whose own images are of another kind."
    )
    return Section(
        "adaptive",
        "Attackers who know less, and who know more",
        about,
        (_unaware(findings), _averaging(findings), _shifted(findings)),
    )


def _unaware(findings: Findings) -> Table:
    columns = (
        Column("Trained on clean vectors, hears", ("data", "defence"), text=True),
        *(Column(ATTACKER_NAMES[by], (f"error_{by}",), "Error") for by in ALWAYS),
    )
    lines = []
    for data in NAMES:
        found = [findings.get(f"{data}/unaware/{by}") for by in ALWAYS]
        names = [n for f in found if f is not None for n in f["by_defence"]]
        for name in dict.fromkeys(names):
            cells = [
                WAITS if f is None else value(f["by_defence"][name]["mse"]["value"], 4)
                for f in found
            ]
            head = Shown(f"{NAMES[data]}, {_heard(name)}", (data, name))
            lines.append(Line((head, *cells)))
    return Table("unaware", "Caught unawares", columns, tuple(lines))


def _averaging(findings: Findings) -> Table:
    columns = (
        Column("Gaussian noise 0.02", ("noise",), text=True),
        *(Column(f"{n} answers" if n > 1 else "1 answer", (f"error_{n}",), "Error") for n in HEARD),
        Column("change", ("change",), "Error"),
    )
    labels = {"fresh": "fresh for every answer", "keyed": "of a secret key and the vector"}
    lines = []
    for name, label in labels.items():
        found = [attacked(findings, f"mnist/averaging/{name}-heard-{n}") for n in HEARD]
        errors = [f.error[0] for f in found if f is not None]
        ran = len(errors) == len(HEARD)
        cells = [WAITS if f is None else value(f.error[0], 4) for f in found]
        change = difference(errors[1] - errors[0], 4, limit=1) if ran else WAITS
        lines.append(Line((words(label), *cells, change)))
    return Table("averaging", "Many answers to one question, MNIST", columns, tuple(lines))


def _shifted(findings: Findings) -> Table:
    columns = (
        Column("Victims, attacker's images", ("data", "auxiliary"), text=True),
        *(Column(_label(n), (f"error_{n}",), "Error") for n in SHIFTED_DEFENCES),
    )
    lines = []
    for data, sources in SHIFTED.items():
        for source in sources:
            found = [attacked(findings, f"{data}/shifted/{source}-{n}") for n in SHIFTED_DEFENCES]
            cells = [WAITS if f is None else value(f.error[0], 4) for f in found]
            lines.append(Line((Shown(f"{NAMES[data]}, {source}", (data, source)), *cells)))
    return Table("shifted", "Images of another kind", columns, tuple(lines))


def _heard(defence: str) -> str:
    return _label(defence) if defence else "clean ones"


def _label(defence: str) -> str:
    return named(defence, "mnist").label
