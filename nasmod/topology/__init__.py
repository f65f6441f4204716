"""The graph of modules as a value: topologies, their key, edits and random wirings."""

from nasmod.topology.key import canonical_order, key_of
from nasmod.topology.topology import INPUT, OUTPUT, Node, Parameter, Topology

__all__ = ["INPUT", "OUTPUT", "Node", "Parameter", "Topology", "canonical_order", "key_of"]
