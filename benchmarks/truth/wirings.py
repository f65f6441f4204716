"""Topologies to be judged: the true decomposition and its rivals by hand, of about the same FLOPs, and random ones."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from nasmod.data import Dataset
from nasmod.networks import count_flops, plan
from nasmod.report.layout import node_names
from nasmod.topology import Node, Topology, random_edges

FLOPS = 5_000
WIDTHS = range(1, 257)
FAMILIES = ("erdos_renyi", "watts_strogatz", "barabasi_albert", "layered", "parallel")
Wire = list[tuple[Sequence[str | int], int]]  # what each module reads (inputs by name, earlier modules), its width


def _true(inputs: list[str], outputs: list[str], width: int) -> tuple[Wire, list[list[int]]]:
    fronts: Wire = [([name], width) for name in inputs]
    if len(outputs) == len(inputs):  # each input has an output of its own: nothing has to be put together
        return fronts, [[index] for index in range(len(inputs))]
    return [*fronts, (list(range(len(inputs))), width)], [[len(inputs)]]


def _split(inputs: list[str], outputs: list[str], width: int) -> tuple[Wire, list[list[int]]]:
    fronts: Wire = [([name], width) for name in inputs for _ in range(2)]
    every = list(range(len(fronts)))
    if len(outputs) == len(inputs):
        return fronts, [[2 * index, 2 * index + 1] for index in range(len(inputs))]
    return [*fronts, (every, width)], [[len(fronts)]]


def _early_mixing(inputs: list[str], outputs: list[str], width: int) -> tuple[Wire, list[list[int]]]:
    return [(inputs, width), (inputs, width), ([0, 1], width)], [[2] for _ in outputs]


def _thin_fronts(inputs: list[str], outputs: list[str], width: int) -> tuple[Wire, list[list[int]]]:
    fronts: Wire = [([name], 8) for name in inputs]
    return [*fronts, (list(range(len(inputs))), width)], [[len(inputs)] for _ in outputs]


def _ensemble(members: int) -> Callable[[list[str], list[str], int], tuple[Wire, list[list[int]]]]:
    return lambda inputs, outputs, width: ([(inputs, width)] * members, [list(range(members)) for _ in outputs])


def _chain(inputs: list[str], outputs: list[str], width: int) -> tuple[Wire, list[list[int]]]:
    return [(inputs, width), ([0], width)], [[1] for _ in outputs]


def _giant(inputs: list[str], outputs: list[str], width: int) -> tuple[Wire, list[list[int]]]:
    return [(inputs, width), *[(inputs, 1)] * 3], [[0, 1, 2, 3] for _ in outputs]


BY_HAND: Mapping[str, Callable[[list[str], list[str], int], tuple[Wire, list[list[int]]]]] = {
    "true": _true,
    "true, each input split over two": _split,
    "early mixing": _early_mixing,
    "thin fronts": _thin_fronts,
    "ensemble of 2": _ensemble(2),
    "ensemble of 4": _ensemble(4),
    "ensemble of 8": _ensemble(8),
    "chain": _chain,
    "monolith": _ensemble(1),
    "giant with tiny": _giant,
}


def by_hand(dataset: Dataset, name: str, flops: int = FLOPS, kind: str = "dense", **params: object) -> Topology:
    """A wiring of `BY_HAND`, as wide as fits into the FLOPs."""
    size = {"dense": "width", "conv": "channels"}[kind]

    def of_width(width: int) -> Topology:
        inputs, outputs = list(dataset.inputs), list(dataset.outputs)
        wire, heads = BY_HAND[name](inputs, outputs, width)
        nodes = [Node("input", (), {"name": given}) for given in inputs]
        place = {given: index for index, given in enumerate(inputs)}
        for sources, own in wire:
            read = tuple(place[s] if isinstance(s, str) else len(inputs) + s for s in sources)
            merge = {"merge": "concat"} if len(read) > 1 else {}
            nodes.append(Node(kind, read, {size: own, **params, **merge}))
        for given, head in zip(outputs, heads, strict=True):
            nodes.append(Node("output", tuple(len(inputs) + module for module in head), {"name": given}))
        return Topology(tuple(nodes))

    return _widest(dataset, of_width, flops)


def wiring(topology: Topology) -> str:
    """What reads what, width and depth of each module: ``m1:16(a) m2:8x2(m1, b) y(m2)`` (depth 1 is not said)."""
    nodes = topology.nodes
    names = [name.replace("dense_", "m") for name in node_names(nodes)]
    said = []
    for name, node in zip(names, nodes, strict=True):
        depth = node.params.get("depth", 1)
        size = f":{node.params['width']}" if node.is_module else ""
        size += f"x{depth}" if depth != 1 else ""
        if node.inputs:
            said.append(f"{name}{size}({', '.join(names[source] for source in node.inputs)})")
    return " ".join(said)


def at_random(dataset: Dataset, count: int, seed: int = 0, flops: int = FLOPS) -> list[Topology]:
    """Random topologies of 2 to 5 dense modules as wide as fits into the FLOPs, no two of the same wiring and sizes.

    Each reads every input, and each output depends on all that it has to tell: what cannot be solved is drawn again.
    """
    generator = random.Random(seed)
    found: dict[str, Topology] = {}
    while len(found) < count:
        drawn = _drawn(list(dataset.inputs), list(dataset.outputs), generator)
        if _can_be_solved(drawn, list(dataset.inputs), len(dataset.outputs) > 1):
            found.setdefault(drawn.key, _widest(dataset, lambda width, drawn=drawn: _widened(drawn, width), flops))
    return list(found.values())


def _drawn(inputs: list[str], outputs: list[str], generator: random.Random) -> Topology:
    """A wiring of a random family; modules that read no other read one input, and in half the topologies some more."""
    count = generator.randint(2, 5)
    edges = random_edges(generator.choice(FAMILIES), count, generator)
    skips = 0.6 * max(0.0, generator.uniform(-1.0, 1.0))
    nodes = [Node("input", (), {"name": name}) for name in inputs]
    # of many inputs chance would leave one out nearly always: each is dealt to a module
    dealt = {index: generator.randrange(count) for index in range(len(inputs))} if len(inputs) > 2 else {}
    for module in range(count):
        modules = sorted(source for source, reader in edges if reader == module)
        read = set() if modules else {generator.randrange(len(inputs))}
        read |= {index for index in range(len(inputs)) if generator.random() < skips}
        read |= {index for index, reader in dealt.items() if reader == module}
        params = {"width": generator.choice([1, 2, 4]), "depth": generator.choice([1, 2])}
        sources = (*sorted(read), *(len(inputs) + source for source in modules))
        nodes.append(Node("dense", sources, {**params, "merge": "concat"} if len(sources) > 1 else params))
    ends = [module for module in range(count) if module not in {source for source, _ in edges}]
    told: dict[str, set[int]] = {name: set() for name in outputs}
    for module in ends:
        told[generator.choice(outputs)].add(module)
    for modules_told in told.values():
        modules_told |= {m for m in range(count) if len(outputs) > 1 and generator.random() < skips}
        modules_told |= set() if modules_told else {generator.randrange(count)}
    nodes += [Node("output", tuple(len(inputs) + m for m in sorted(told[name])), {"name": name}) for name in outputs]
    return Topology(tuple(nodes)).live()


def _can_be_solved(topology: Topology, inputs: Sequence[str], an_output_each: bool) -> bool:
    """Whether every output depends on every input, or where there is one for each input (``y_a``) on its own."""
    seen: list[set[str]] = []
    for node in topology.nodes:
        own = {str(node.params["name"])} if node.kind == "input" else set()
        seen.append(own.union(*(seen[source] for source in node.inputs)))
    for node, depends in zip(topology.nodes, seen, strict=True):
        if node.kind == "output":
            wanted = {str(node.params["name"]).removeprefix("y_")} if an_output_each else set(inputs)
            if not wanted <= depends:
                return False
    return True


def _widened(topology: Topology, factor: int) -> Topology:
    nodes = topology.live().nodes
    return Topology(
        tuple(
            Node(node.kind, node.inputs, {**node.params, "width": factor * int(node.params["width"])})
            if node.is_module
            else node
            for node in nodes
        )
    )


def _widest(dataset: Dataset, of_width: Callable[[int], Topology], flops: int) -> Topology:
    """The widest topology within the FLOPs."""

    def is_over(width: int) -> bool:
        return count_flops(plan(of_width(width), dataset.inputs, dataset.output_shapes)) > flops

    return of_width(max(1, bisect_left(WIDTHS, True, key=is_over)))  # widths count from 1
