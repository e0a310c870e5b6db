"""Fault injection for streams, and a mock AI server to inject them into."""

from moored.faults.schedule import Cut, Fault, Refuse, ScheduleError, Stall
from moored.faults.server import ServedRequest, Server, open_server

__all__ = [
    "Cut",
    "Fault",
    "Refuse",
    "ScheduleError",
    "ServedRequest",
    "Server",
    "Stall",
    "open_server",
]
