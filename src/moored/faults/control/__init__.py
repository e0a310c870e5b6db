"""The proxies under control from outside: Toxiproxy's HTTP API, our own, and the dashboard."""

from moored.faults.control.errors import ApiError
from moored.faults.control.proxies import ControlledProxy, PopulateError, Proxies
from moored.faults.control.server import Control, open_control
from moored.faults.control.toxic_data import ToxicData

__all__ = [
    "ApiError",
    "Control",
    "ControlledProxy",
    "PopulateError",
    "Proxies",
    "ToxicData",
    "open_control",
]
