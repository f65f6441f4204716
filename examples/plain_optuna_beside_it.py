"""A study's database in Optuna's own words: importances, the history, and a trial that is enqueued there.

python examples/plain_optuna_beside_it.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import optuna

import nasmod
from nasmod.study import read


def main() -> None:
    with TemporaryDirectory() as name:
        storage = Path(name) / "digits.db"
        small = read("digits", trials=8, data={"name": "digits", "limit": 600}, finalists=1, repeats=2)
        study = nasmod.start(small, storage=storage, workers=1)

        theirs = optuna.load_study(study_name="digits", storage=f"sqlite:///{storage}")
        print(len(theirs.trials), "trials;", theirs.user_attrs["best by fresh trainings"])

        theirs.enqueue_trial({**theirs.trials[0].params, "setting.learning_rate": 0.015})
        study = nasmod.resume("digits", storage=storage, workers=1, trials=9)
        print(study.record(8).proposal.origin["why"], "-", study.record(8).state)


if __name__ == "__main__":
    main()
