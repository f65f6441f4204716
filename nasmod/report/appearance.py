"""How a topology looks in a picture: boxes with the parameters of modules, in the colours of what these carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import fill

import numpy as np
from numpy.typing import NDArray

from nasmod.report.figures import INFORMATION, parameters_of
from nasmod.report.layout import Layout, lay_out, node_names
from nasmod.study.record import Record

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")  # Okabe & Ito 2008
PALE = "#e8e8e8"
STRONGEST, PALEST = 0.8, 0.15  # depth of a module's colour: of the first where all information is lost without it
LEAST_SHARE = 0.3  # of a factor's effect that some module must carry for the factor to stand in the legend
NOTE_COLUMNS = 20


def layout_of(record: Record) -> Layout:
    """The live part, placed, with the parameters of each module under its name."""
    topology = record.proposal.topology
    nodes = topology.canonical().nodes
    notes = {}
    for name, node in zip(node_names(nodes), nodes, strict=True):
        pairs = [pair.replace(" ", "\0") for pair in parameters_of(node).split(", ")]  # a name stays with its value
        notes[name] = fill(", ".join(pairs), NOTE_COLUMNS).replace("\0", " ")
    return lay_out(topology, notes)


def factor_colours(record: Record) -> dict[str, str]:
    """A colour for each factor of which some module carries a good share, the same for all records of a study.

    Later factors than there are colours have none.
    """
    carried: dict[str, float] = {}
    for of_module in record.roles.values():
        for factor, role in of_module.items():
            carried[factor] = max(carried.get(factor, 0.0), role.carries)
    coloured = dict(zip(carried, COLOURS, strict=False))
    return {factor: colour for factor, colour in coloured.items() if carried[factor] >= LEAST_SHARE}


def module_colour(record: Record, module: str, colours: Mapping[str, str]) -> str:
    """The colours of the factors that a module carries, mixed by their shares, on white."""
    shares = {name: role.carries for name, role in record.roles.get(module, {}).items() if name in colours}
    total = sum(shares.values())
    if total <= 0:
        return PALE
    mixed = sum(share / total * _rgb(colours[name]) for name, share in shares.items())
    information = record.measures.get(f"{INFORMATION}{module}", math.nan)
    depth = STRONGEST * (np.clip(information, PALEST, 1.0) if math.isfinite(information) else 1.0)
    red, green, blue = np.round(255 * (1 - depth * (1 - mixed))).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
