"""What an export wrote and proved, and the trainings before it, in lines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nasmod.export import Exported
from nasmod.measures.retraining import Retrained, mean_and_spread
from nasmod.report.figures import figure
from nasmod.report.progress import SECONDS_BETWEEN_LINES

if TYPE_CHECKING:
    from nasmod.training import Epoch


def exported_lines(found: Exported, what: str) -> Iterator[str]:
    """The files, how far each differs from the trained network, and its score on the test split."""
    yield f"Exported {what} to {found.directory}:"
    for file in found.files:
        yield f"  {file}"
    yield "Checked in a process that cannot import nasmod:"
    for form, difference in found.differences.items():
        yield (
            f"  {form}: largest absolute difference from the trained network {difference:.2g}, "
            f"test {found.score_name} {found.scores[form]:.4f}"
        )
    error = f" ± {found.trained_score.standard_error:.4f}" if found.trained_score.standard_error is not None else ""
    trained = f"{found.trained_score.value:.4f}{error} on {found.examples:,} test examples"
    yield f"  the trained network: test {found.score_name} {trained}"


class RetrainingView:
    """What a person sees while a topology is trained at full length: a line now and then, and one at each end."""

    def __init__(self, epochs: int, seeds: int) -> None:
        self.epochs, self.seeds = epochs, seeds
        self._said_at = time.monotonic()

    def lines(self, number: int, epoch: Epoch, what: str = "") -> Iterator[str]:
        """A line, which begins with `what` is trained, or none when the last was just said."""
        if time.monotonic() - self._said_at >= SECONDS_BETWEEN_LINES or epoch.number == self.epochs:
            self._said_at = time.monotonic()
            yield (
                f"{what}training {number} of {self.seeds}: epoch {epoch.number} of {self.epochs}, "
                f"validation accuracy {epoch.validation_accuracy:.4f}"
            )


def spread_lines(trainings: Sequence[Retrained], epochs: int) -> Iterator[str]:
    """Each measure of several trainings of one topology: its mean and spread."""
    yield f"Mean ± standard deviation of {len(trainings)} trainings of {epochs} epochs:"
    for name, (mean, spread) in mean_and_spread(trainings).items():
        if not name.startswith("information."):
            yield f"  {name} {figure(name, mean)}{f' ± {figure(name, spread)}' if spread else ''}"
