"""The schedule that the options of ``moored proxy`` ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from moored.cli.fault_option import fault_from_text
from moored.faults import Fault, ScheduleError, ScheduleFileError, load_schedule, random_schedule
from moored.faults.schedule import KINDS

__all__ = ["schedule_from_options"]


def schedule_from_options(
    file: Path | None, specs: Sequence[str], *, at_random: bool, rates: Sequence[str], seed: int
) -> tuple[Fault, ...]:
    """The faults of a file, then those of ``--fault``, then random ones.

    :raises click.UsageError: for anything that is wrong.
    """
    schedule = _schedule(file, specs)
    if at_random:
        return schedule + random_schedule(seed)
    return schedule + _random(seed, _rates(rates)) if rates else schedule


def _random(seed: int, rates: Mapping[str | Fault, float]) -> tuple[Fault, ...]:
    try:
        return random_schedule(seed, rates=rates)
    except ScheduleError as exc:
        raise click.UsageError(f"--rate: {exc}") from exc


def _rates(texts: Sequence[str]) -> dict[str | Fault, float]:
    rates: dict[str | Fault, float] = {}
    for text in texts:
        fault, _, share = text.rpartition("=")
        try:
            key = fault if fault in KINDS else fault_from_text(fault)
            rates[key] = float(share)
        except ScheduleError as exc:
            raise click.UsageError(f"--rate {text!r}: {exc}") from exc
        except ValueError:
            raise click.UsageError(f"--rate {text!r}: SHARE must be a number") from None
    return rates


def _schedule(file: Path | None, specs: Sequence[str]) -> tuple[Fault, ...]:
    faults: tuple[Fault, ...] = ()
    if file is not None:
        try:
            faults = load_schedule(file)
        except OSError as exc:
            raise click.UsageError(f"--schedule: cannot read {file}: {exc.strerror}") from exc
        except ScheduleFileError as exc:
            raise click.UsageError(f"--schedule {exc}") from exc
    for spec in specs:
        try:
            faults += (fault_from_text(spec),)
        except ScheduleError as exc:
            raise click.UsageError(f"--fault {spec!r}: {exc}") from exc
    return faults
