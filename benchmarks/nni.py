"""What a trial that does nothing costs in an NNI experiment, beside a candidate of nasmod that trains for one epoch.

NNI: a real experiment on this machine with two trials at a time, whose trial reports one number. nasmod: a real study
with two workers, whose candidates train one epoch of 200 digits; that training is in its figures. Each side runs with
few and with many trials (nasmod with ten times as many), in turns; the difference is what one more costs, in seconds of
wall time and of CPU with all processes that it starts. Prints one line of JSON last. Needs ``pip install
'nasmod[nni]'``.

    python -m benchmarks.nni [--runs 3] [--few 5] [--many 25]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import nasmod
from nasmod.modules.nni import import_nni
from nasmod.study import read

TRIAL = "import nni\nnni.get_next_parameter()\nnni.report_final_result(0.5)\n"
MORE = 10  # times as many candidates of nasmod's: one costs too little to be told from what a study's start takes
Cost = tuple[float, float]


def of_nni(folder: Path, trials: int) -> None:
    """An experiment of so many trials."""
    import_nni()
    from nni.experiment import Experiment

    (folder / "trial.py").write_text(TRIAL)
    experiment = Experiment("local")
    config = experiment.config
    config.experiment_name = "nothing"
    config.experiment_working_directory = str(folder / "experiments")
    config.trial_command = f"{sys.executable} trial.py"
    config.trial_code_directory = str(folder)
    config.search_space = {"rate": {"_type": "uniform", "_value": [0, 1]}}
    config.tuner.name = "Random"
    config.max_trial_number = trials
    config.trial_concurrency = 2
    config.training_service.use_active_gpu = False
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    experiment.run(port, wait_completion=True)
    experiment.stop()


def of_nasmod(folder: Path, trials: int) -> None:
    """A study of so many candidates."""
    study = read("digits", trials=trials)
    changes = {
        "name": "nothing",
        "data": {**study.data, "limit": 200},
        "references": False,
        "finalists": 0,
        "training": study.training.model_copy(update={"epochs": 1}),
        "strategy": {"name": "random"},
        "stopping": {"name": "none"},
    }
    nasmod.start(study.model_copy(update=changes), storage=folder / "study.db", workers=2)


def cost(work: Callable[[Path, int], None], trials: int) -> Cost:
    """Seconds of wall time and of CPU, those of every process that it started and waited for included."""
    with TemporaryDirectory() as folder:
        began, before = time.perf_counter(), _cpu()
        work(Path(folder), trials)
        return time.perf_counter() - began, _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--few", type=int, default=5, help="trials of the shorter run")
    parser.add_argument("--many", type=int, default=25, help="trials of the longer run")
    options = parser.parse_args()
    found: dict[str, list[Cost]] = {"nni": [], "nasmod": []}
    for _ in range(options.runs):
        for name, work, times in (("nni", of_nni, 1), ("nasmod", of_nasmod, MORE)):
            few, many = cost(work, times * options.few), cost(work, times * options.many)
            more = times * (options.many - options.few)
            found[name].append(((many[0] - few[0]) / more, (many[1] - few[1]) / more))
            wall, cpu = found[name][-1]
            print(f"{name}: {wall:.3f} s and {cpu:.3f} s of CPU a trial", file=sys.stderr, flush=True)
    result = {
        "name": "nni",
        "seconds": {name: statistics.median(wall for wall, _ in runs) for name, runs in found.items()},
        "cpu_seconds": {name: statistics.median(cpu for _, cpu in runs) for name, runs in found.items()},
        "ratio": statistics.median(
            theirs[0] / ours[0] for theirs, ours in zip(found["nni"], found["nasmod"], strict=True)
        ),
        "conditions": {
            "runs": options.runs,
            "trials": [options.few, options.many],
            "at a time": 2,
            "nni": import_nni().__version__,
            "python": platform.python_version(),
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
