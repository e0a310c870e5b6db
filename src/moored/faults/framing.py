"""How payload goes on the wire: as it is, in chunks, or compressed."""

from __future__ import annotations

import zlib
from typing import Protocol

__all__ = ["AsIs", "Chunked", "Framing", "Gzipped"]

_GZIP = 16  # zlib's window bits for the gzip format, on top of the size


class Framing(Protocol):
    """Makes payload into what goes on the wire."""

    def wrap(self, data: bytes) -> bytes:
        """All of ``data``, so that it can be read as it comes."""
        ...

    def begin(self, data: bytes, size: int) -> bytes:
        """The first bytes of what says that it has ``size`` bytes."""
        ...

    def end(self, trailers: bytes = b"") -> bytes:
        """The end of the body."""
        ...

    def cut(self, trailers: bytes = b"") -> bytes:
        """The end of the body, and not that of what is compressed in it."""
        ...


class AsIs:
    """No framing: the body ends with its length, or with the connection."""

    def wrap(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def begin(self, data: bytes, size: int) -> bytes:
        """The same bytes."""
        return data

    def end(self, trailers: bytes = b"") -> bytes:
        """Nothing."""
        return b""

    cut = end


class Chunked:
    """Chunked transfer coding (RFC 9112, 7.1)."""

    def wrap(self, data: bytes) -> bytes:
        """One chunk."""
        return b"%x\r\n%b\r\n" % (len(data), data)

    def begin(self, data: bytes, size: int) -> bytes:
        """The size of a chunk, and the first of its bytes."""
        return b"%x\r\n%b" % (size, data)

    def end(self, trailers: bytes = b"") -> bytes:
        """The last chunk, and trailer fields."""
        return b"0\r\n" + trailers + b"\r\n"

    cut = end


class Gzipped:
    """Compressed as it comes.

    :param inner: how the compressed bytes are framed.
    """

    def __init__(self, inner: Framing) -> None:
        self._inner = inner
        self._gzip = zlib.compressobj(wbits=_GZIP + zlib.MAX_WBITS)

    def wrap(self, data: bytes) -> bytes:
        """Compressed, and flushed."""
        return self._inner.wrap(self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH))

    def begin(self, data: bytes, size: int) -> bytes:
        """Compressed, in a chunk of its own: how long all of it would be is not known."""
        return self.wrap(data)

    def end(self, trailers: bytes = b"") -> bytes:
        """The end of the gzip stream, and of the body."""
        return self._inner.wrap(self._gzip.flush(zlib.Z_FINISH)) + self._inner.end(trailers)

    def cut(self, trailers: bytes = b"") -> bytes:
        """The end of the body alone."""
        return self._inner.end(trailers)
