"""The graph of modules as a value: topologies, their key, edits and random wirings."""

from nasmod.topology.crossover import cross
from nasmod.topology.edits import (
    add_edge,
    add_module,
    change_kind,
    drop_edge,
    duplicate_module,
    insert_module,
    merge_modules,
    remove_module,
    resize_module,
    rewire,
    split_module,
)
from nasmod.topology.generators import FAMILIES, random_edges
from nasmod.topology.key import canonical_order, key_of
from nasmod.topology.topology import INPUT, OUTPUT, USUAL_MERGE, Node, Parameter, Topology

__all__ = [
    "FAMILIES",
    "INPUT",
    "OUTPUT",
    "USUAL_MERGE",
    "Node",
    "Parameter",
    "Topology",
    "add_edge",
    "add_module",
    "canonical_order",
    "change_kind",
    "cross",
    "drop_edge",
    "duplicate_module",
    "insert_module",
    "key_of",
    "merge_modules",
    "random_edges",
    "remove_module",
    "resize_module",
    "rewire",
    "split_module",
]
