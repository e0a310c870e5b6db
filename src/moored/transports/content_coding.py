"""Content codings (RFC 9110, section 8.4): gzip and deflate, undone as the bytes come."""

from __future__ import annotations

import zlib

__all__ = ["ContentDecoder", "UnknownCoding"]

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib.decompressobj, "wbits"
_PIECE = 256 * 1024  # so that a small chunk cannot inflate into a large memory at once


class UnknownCoding(ValueError):
    """The answer comes in a coding that was not asked for and is not known."""

    def __init__(self, coding: str) -> None:
        super().__init__(f"its content coding {coding[:40]!r} is not known")


class ContentDecoder:
    """Undoes one content coding, or none.

    :param coding: the ``Content-Encoding`` header.
    :raises UnknownCoding: when it is none of ``gzip``, ``deflate`` and ``identity``.
    """

    def __init__(self, coding: str) -> None:
        coding = coding.strip().lower()
        wbits = {"": None, "identity": None, "gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
        if coding not in wbits:
            raise UnknownCoding(coding)
        self._wbits = wbits[coding]
        self._inflater = None if self._wbits is None else zlib.decompressobj(self._wbits)
        self._input = b""
        self._begun = False
        self._raw_or_not = coding == "deflate"

    @property
    def pending(self) -> bool:
        """Whether :meth:`take` has bytes to give without another :meth:`feed`."""
        return len(self._input) >= (2 if self._raw_or_not else 1)

    @property
    def incomplete(self) -> bool:
        """Whether the coding's own end is missing."""
        return self._inflater is not None and self._begun and not self._inflater.eof

    def feed(self, chunk: bytes) -> None:
        """Add bytes as they came."""
        self._input += chunk
        self._begun = self._begun or bool(chunk)

    def take(self) -> bytes:
        """Some decoded bytes, possibly none.

        :raises zlib.error: when the bytes are not what the header says.
        """
        if self._raw_or_not and len(self._input) < 2:
            return b""
        data, self._input = self._input, b""
        if self._inflater is None or not data:
            return data
        if self._raw_or_not:
            self._raw_or_not = False
            # RFC 1950, section 2.2: without its header it is raw, as some servers send it and all
            # browsers take it.
            if data[0] & 0x0F != 8 or int.from_bytes(data[:2], "big") % 31:
                self._inflater = zlib.decompressobj(_RAW)
        if self._inflater.eof:
            if self._wbits != _GZIP:
                return b""  # behind its end
            self._inflater = zlib.decompressobj(_GZIP)  # another member (RFC 1952, section 2.2)
        decoded = self._inflater.decompress(data, _PIECE)
        self._input = self._inflater.unconsumed_tail or self._inflater.unused_data
        return decoded
