"""Topologies that a person gives, as values or in JSON files: read, checked on a study's data, queued in a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasmod.errors import NasmodError, SpaceError, StudyError, TopologyError
from nasmod.modules import check_params
from nasmod.search.context import Context
from nasmod.study import Proposal, StoredStudy, candidate_key, candidates
from nasmod.study.records import read_records
from nasmod.topology import USUAL_MERGE, Node, Topology
from nasmod.training import why_failed

Given = Topology | str | Path


def read_topologies(given: Sequence[Given]) -> list[tuple[str | None, Topology]]:
    """Each topology with its file, None for one that is none's. Raises `TopologyError`, which names the file."""
    return [(None, one) if isinstance(one, Topology) else (str(one), _read(Path(one))) for one in given]


def _read(file: Path) -> Topology:
    try:
        return Topology.from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TopologyError(f"File '{file}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TopologyError(f"{file}: Not a topology, since not a text: {error}.") from error
    except TopologyError as error:
        raise TopologyError(f"{file}: {error}") from error


def checked(context: Context, topology: Topology, where: str) -> Topology:
    """The live part with every parameter written out, once its plan on the study's data is known to be possible."""
    try:
        written_out = Topology(tuple(_written_out(node) for node in topology.live().nodes))
        context.plan(written_out)
    except NasmodError as error:
        raise TopologyError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's kind may raise anything
        raise TopologyError(f"{where}: {why_failed(error)}.") from error
    return written_out


def _written_out(node: Node) -> Node:
    """The node with its parameters as a space would write them: the same network then has the same key."""
    if not node.is_module:
        return node
    merge = {"merge": node.params.get("merge", USUAL_MERGE)} if len(node.inputs) > 1 else {}
    return Node(node.kind, node.inputs, {**check_params(node.kind, node.params).model_dump(), **merge})


def enqueue(context: Context, stored: StoredStudy, given: Sequence[Given]) -> list[str]:
    """File topologies as ordinary candidates of a study; their keys.

    Everything is checked before anything is filed: raises a `NasmodError` of one line, which names the file, for what
    is no topology of the study's space, is over its FLOPs budget, or is a candidate already. Searched training settings
    stand as the study's own.
    """
    known = {record.key: record.label for record in read_records(stored)}
    settings = context.space.default_settings
    filed = {}
    for file, topology in read_topologies(given):
        where = file or "The topology"
        origin = {"strategy": "enqueued", "why": f"given by a person{f' in {file}' if file else ''}"}
        proposal = context.counted(Proposal(checked(context, topology, where), settings, None, origin))
        if (reason := context.violation(proposal)) is not None:
            raise StudyError(f"{where}: {reason}.")
        try:
            parameters = context.space.encode(proposal.topology, settings)
        except SpaceError as error:
            raise SpaceError(f"{where} is outside the study's space: {error}") from error
        key = candidate_key(proposal.topology, settings)
        if key in known or key in filed:
            raise StudyError(f"{where}: {known.get(key, 'another of these files')} is the same candidate.")
        filed[key] = proposal, parameters
    for key, (proposal, parameters) in filed.items():
        candidates.propose(stored.database, stored.id, key, proposal, parameters)
    return list(filed)
