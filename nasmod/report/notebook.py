"""A study as a notebook shows it: what was asked and found in a few sentences, and the best topology."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nasmod.report.page import asked, found
from nasmod.report.svg import svg
from nasmod.study import Status, Study
from nasmod.study import records as reading
from nasmod.study.record import Record


def study_html(study: Study, status: Status, records: Sequence[Record]) -> str:
    """HTML without scripts; of a study in which nothing has finished what was asked and how far it is."""
    objective = study.objective
    sentences = [asked(study), f"{status.trained:,} of {status.budget:,} are trained; {status.state}."]
    sentences += found(records, objective)
    picture = "".join(svg(best) for best in reading.ranked(records, objective)[:1])
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f"<div><h3>{escape(study.name)}</h3>{paragraphs}{picture}</div>"
