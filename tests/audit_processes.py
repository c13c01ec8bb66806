"""Whole audits in processes of their own, for the scripts that kill some of them."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

CUTLAYER = (sys.executable, "-m", "cutlayer")
NETWORK = ("lenet", "--data", "digits", "--epochs", "4")


def trained(folder: Path) -> Path:
    """Weights that both machines are given."""
    base = folder / "base"
    run = [*CUTLAYER, "audit", *NETWORK, "--budget", "0.001", "--store", str(base)]
    subprocess.run(
        [*run, "--out", str(folder / "none")], check=True, stdout=subprocess.DEVNULL, cwd=folder
    )
    (found,) = base.glob("train-*.safetensors")
    return found


def asked(weights: Path, defences: list[str], victims: str) -> list[str]:
    """The audit of that network as a command."""
    command = [*CUTLAYER, "audit", *NETWORK[:3], "--weights", str(weights), "--retrain", "4"]
    for name in defences:
        command += ["--defence", name]
    return [*command, "--victims", victims]


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL for it and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finished(storage: str) -> Counter[str]:
    """How often each trial was finished, by key and address."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: Counter[str] = Counter()
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        for row in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            found[f"{row.user_attrs['key']} {row.user_attrs['address']}"] += 1
    return found
