"""What a study opens with: its seeds, then the references. Ordinary candidates, before the strategy is asked."""

from __future__ import annotations

from nasmod.errors import SpaceError, StudyError
from nasmod.search.context import Context
from nasmod.search.given import checked
from nasmod.search.references import references
from nasmod.space.space import Settings
from nasmod.study import Proposal, candidate_key
from nasmod.study.seeds import Seed


def opening(context: Context) -> dict[str, Proposal]:
    """The proposals by key, in the order in which they are filed. Raises `StudyError` as `seeds` does."""
    found: dict[str, Proposal] = {}
    for made in (*seeds(context), *(references(context) if context.study.references else ())):
        found.setdefault(candidate_key(made.topology, made.settings), made)
    return found


def seeds(context: Context) -> list[Proposal]:
    """The seeds of a study. Raises `StudyError` for one that its space does not hold or that is over its budget."""
    return [_proposal(context, seed) for seed in context.study.seeds]


def _proposal(context: Context, seed: Seed) -> Proposal:
    where = f"seeds: {seed.source}"
    topology = checked(context, seed.read(), where)
    settings = _settings(context, seed)
    proposal = context.counted(
        Proposal(topology, settings, None, {"strategy": "seeds", "why": f"a seed, {seed.source}"})
    )
    try:
        context.space.encode(topology, settings)
    except SpaceError as error:
        raise StudyError(f"{where} is outside the study's space: {error}") from error
    if (reason := context.violation(proposal)) is not None:
        raise StudyError(f"{where}: {reason}.")
    return proposal


def _settings(context: Context, seed: Seed) -> Settings:
    """Those it did well with, as far as the study's space searches and holds them; else the study's own."""
    searched = context.space.setting_distributions
    known = {name: value for name, value in seed.settings.items() if name in searched}
    return context.space.default_settings | {n: value for n, value in known.items() if searched[n].contains(value)}
