"""The gauntlet's results as one page that needs nothing else, neither files nor network."""

from __future__ import annotations

import shlex

import jinja2

from moored.cli.gauntlet.table import manners, sentence
from moored.cli.gauntlet.timeline import timeline
from moored.faults.gauntlet.report import Report

__all__ = ["render"]


def render(report: Report) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("moored.cli.gauntlet"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        report=report,
        total=report.total,
        command=shlex.join(report.command),
        sentence=sentence(report),
        trials=[
            {
                "id": f"{score.record.trial.name}-{score.record.transport}",
                "trial": score.record.trial,
                "score": score,
                "record": score.record,
                "manners": manners(score),
                "timeline": timeline(score),
            }
            for score in report.scores
        ],
    )
