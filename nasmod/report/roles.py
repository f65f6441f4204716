"""Which module does what, as a small table, and the factors of a study in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from nasmod.data.factors import Factors
from nasmod.measures.roles import Roles

SMALLEST_SHARE = 0.05  # below it a share is left out of the table
FAMILIES = {
    "declared": "as the study declares them",
    "inputs": "the inputs",
    "outputs": "the outputs",
    "features": "groups of input features that vary together",
    "classes": "the classes",
}
LITTLE_TO_DIVIDE = (
    "With one input and one output plain training hardly divides the work, whatever the wiring: expect modularity "
    "near 0, and a ranking by skill and FLOPs."
)


def roles_rows(roles: Roles) -> list[tuple[str, str, str]]:
    """Each module, the factors that it reads, and the effects of factors that it carries, with their shares."""
    return [
        (
            module,
            _listed({factor: role.reads or 0.0 for factor, role in of_module.items()}),
            _listed({factor: role.carries for factor, role in of_module.items()}),
        )
        for module, of_module in roles.items()
    ]


def roles_table(roles: Roles) -> Table:
    """One row a module: which factors it reads, and the share of each factor's effect that it carries."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    reading = any(role.reads is not None for of_module in roles.values() for role in of_module.values())
    for heading in ("module", *(["reads"] if reading else []), "carries of each factor's effect"):
        table.add_column(heading)
    for module, reads, carries in roles_rows(roles):
        table.add_row(module, *([reads] if reading else []), carries)
    return table


def factors_lines(factors: Factors | None) -> Iterator[str]:
    """What modularity speaks of in a study, and what to know of it."""
    if factors is None:
        return
    if not factors.factors:
        yield "  modularity is undefined: with one group of features and one number to tell there is nothing to divide"
        return
    names = ", ".join(factor.name for factor in factors.factors[:8])
    more = f" and {len(factors.factors) - 8} more" if len(factors.factors) > 8 else ""
    yield f"  modularity by {len(factors.factors)} factors, {FAMILIES[factors.family]}: {names}{more}"
    if factors.family in ("features", "classes"):
        yield f"  {LITTLE_TO_DIVIDE}"
    if factors.leave_the_data and factors.correlation is not None:
        yield (
            f"  Some factors vary together (correlations up to {share(factors.correlation)}): permuting one makes "
            "examples unlike the data."
        )


def share(value: float) -> str:
    """A share in two digits.

    >>> share(0.954), share(1.0)
    ('.95', '1.00')
    """
    return f"{value:.2f}".removeprefix("0")


def _listed(shares: dict[str, float]) -> str:
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share(value)}" for name, value in ordered if value >= SMALLEST_SHARE) or "nothing"
