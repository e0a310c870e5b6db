"""The gauntlet: any client program, in any language, against a catalogue of faults, and scored.

:func:`run_gauntlet` puts a program through trials of :func:`catalogue`; the command
``moored gauntlet`` does that and shows the results.
"""

from moored.faults.gauntlet.catalogue import catalogue
from moored.faults.gauntlet.client import ClientRun, Line
from moored.faults.gauntlet.record import TrialRecord
from moored.faults.gauntlet.runner import run_gauntlet, run_trial
from moored.faults.gauntlet.score import Score, Total, score, total
from moored.faults.gauntlet.trial import GiveUp, Survive, Trial

__all__ = [
    "ClientRun",
    "GiveUp",
    "Line",
    "Score",
    "Survive",
    "Total",
    "Trial",
    "TrialRecord",
    "catalogue",
    "run_gauntlet",
    "run_trial",
    "score",
    "total",
]
