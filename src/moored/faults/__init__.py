"""Fault injection for streams: a proxy that breaks them, and a mock AI server to break them to.

The proxy stands between any client and any server::

    schedule = [Refuse(times=2, retry_after=1), Cut(after_messages=3, how="rst", connection=3)]
    async with open_server() as server, open_proxy(server.url, schedule=schedule) as proxy:
        ...  # connect to proxy.url + "/feed"
    proxy.injected  # what really happened, and when
"""

from moored.faults.blocking import (
    BlockingProxy,
    BlockingServer,
    open_blocking_proxy,
    open_blocking_server,
)
from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.checks import ScheduleError
from moored.faults.catalogue.http import ContentType, GzipCut, Refuse, SlowHead
from moored.faults.catalogue.messages import (
    Drop,
    Duplicate,
    ErrorEvent,
    Insert,
    MessageEdit,
    Oversized,
    RetryField,
    Spoil,
    Swap,
)
from moored.faults.catalogue.moments import CloseFrame, CommentsOnly, Cut, Moment, Stall
from moored.faults.catalogue.tcp import (
    Bandwidth,
    Corrupt,
    Down,
    HalfOpen,
    Latency,
    LimitData,
    NeverAnswer,
    ResetPeer,
    Slicer,
    SlowClose,
    TcpFault,
    Timeout,
)
from moored.faults.catalogue.websocket import (
    Fragment,
    IgnoreClose,
    LatePongs,
    Masked,
    ReservedBits,
    SwallowPings,
    WrongAccept,
)
from moored.faults.chance import random_schedule
from moored.faults.files import ScheduleFileError, load_schedule
from moored.faults.json_schema import schedule_json_schema
from moored.faults.message_log import PassedMessages
from moored.faults.notation import fault_from_dict, fault_to_dict, schedule_from, schedule_to_data
from moored.faults.proxy import Proxy, open_proxy
from moored.faults.record import ConnectionRecord, Injected
from moored.faults.recording import recording_of, schedule_from_recording
from moored.faults.server import ServedRequest, Server, open_server

__all__ = [
    "Bandwidth",
    "BlockingProxy",
    "BlockingServer",
    "CloseFrame",
    "CommentsOnly",
    "ConnectionRecord",
    "ContentType",
    "Corrupt",
    "Cut",
    "Down",
    "Drop",
    "Duplicate",
    "ErrorEvent",
    "Fault",
    "Fragment",
    "GzipCut",
    "HalfOpen",
    "IgnoreClose",
    "Injected",
    "Insert",
    "LatePongs",
    "Latency",
    "LimitData",
    "Masked",
    "MessageEdit",
    "Moment",
    "NeverAnswer",
    "Oversized",
    "PassedMessages",
    "Proxy",
    "Refuse",
    "ReservedBits",
    "ResetPeer",
    "RetryField",
    "ScheduleError",
    "ScheduleFileError",
    "ServedRequest",
    "Server",
    "Slicer",
    "SlowClose",
    "SlowHead",
    "Spoil",
    "Stall",
    "SwallowPings",
    "Swap",
    "TcpFault",
    "Timeout",
    "WrongAccept",
    "fault_from_dict",
    "fault_to_dict",
    "load_schedule",
    "open_blocking_proxy",
    "open_blocking_server",
    "open_proxy",
    "open_server",
    "random_schedule",
    "recording_of",
    "schedule_from",
    "schedule_from_recording",
    "schedule_json_schema",
    "schedule_to_data",
]
