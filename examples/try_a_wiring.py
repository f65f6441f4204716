"""A wiring of your own beside what a search finds: two digits in, their sum out, each digit read by one module.

python examples/try_a_wiring.py
"""

import nasmod
from nasmod import Node, Topology

DENSE = {"width": 16, "depth": 1}


def main() -> None:
    towers = Topology(
        (
            Node("input", (), {"name": "a"}),
            Node("input", (), {"name": "b"}),
            Node("dense", (0,), DENSE),
            Node("dense", (1,), DENSE),
            Node("dense", (2, 3), DENSE),
            Node("output", (4,), {"name": "y"}),
        )
    )
    mixed = Topology((*towers.nodes[:2], Node("dense", (0, 1), DENSE), Node("output", (2,), {"name": "y"})))
    for name, topology in (("a module for each digit", towers), ("one module for both", mixed)):
        tried = nasmod.try_topology("pairs", topology, seeds=1)
        accuracy, modularity = tried.measures["accuracy"], tried.measures["modularity"]
        print(f"{name}: accuracy {accuracy:.3f}, modularity {modularity:.2f}, score {tried.score:.3f}")


if __name__ == "__main__":
    main()
