"""Faults of TCP: toxics, a stream that has them, and a proxy that knows nothing but bytes.

The proxy stands between any client and any server that speak over TCP::

    async with tcp.open_tcp_proxy("127.0.0.1:5432") as proxy:
        proxy.add_toxic(tcp.Latency(latency=0.2, jitter=0.05))
        ...  # connect to proxy.listen

:class:`ShapedStream` puts the same toxics under one stream of a program's own.
"""

from moored.faults.tcp.connection import PlacedToxic
from moored.faults.tcp.proxy import TcpConnection, TcpProxy, ToxicExists, open_tcp_proxy
from moored.faults.tcp.shaped import ShapedStream, ToxicHandle
from moored.faults.tcp.toxics import (
    Bandwidth,
    Corrupt,
    Direction,
    HalfOpen,
    Latency,
    LimitData,
    NeverAnswer,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

__all__ = [
    "Bandwidth",
    "Corrupt",
    "Direction",
    "HalfOpen",
    "Latency",
    "LimitData",
    "NeverAnswer",
    "Noop",
    "PlacedToxic",
    "ResetPeer",
    "ShapedStream",
    "Slicer",
    "SlowClose",
    "TcpConnection",
    "TcpProxy",
    "Timeout",
    "Toxic",
    "ToxicExists",
    "ToxicHandle",
    "open_tcp_proxy",
]
