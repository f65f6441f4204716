"""From a table of your own to predictions, in Python: what `nasmod new`, `start`, `report` and `predict` do.

python examples/search_your_table.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from sklearn.datasets import load_wine

import nasmod


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        table = load_wine(as_frame=True).frame
        table.to_csv(folder / "wine.csv", index=False)

        file = nasmod.new(folder / "wine.toml", folder / "wine.csv", target="target")
        study = nasmod.start(file, storage=folder / "wine.db", trials=12, workers=1)
        print(study.gain())
        print(study.dataframe()[["number", "state", "score"]].tail())

        study.export(folder / "model")
        rows = nasmod.predict(folder / "model", folder / "wine.csv", folder / "said.csv")
        print(f"{rows} predictions; the first lines:")
        print("\n".join((folder / "said.csv").read_text().splitlines()[:3]))


if __name__ == "__main__":
    main()
