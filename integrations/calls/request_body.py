"""The body of a request that is forwarded."""

from collections.abc import Callable, Iterator

CHUNK = 64 * 1024


class BodyCutOff(Exception):
    """The body ended before its length, or did not come in time. No OSError: nothing is wrong with SnapInspect."""


class RequestBody:
    """Pieces of a body, read while they are sent on. They are kept in memory: the request may have to be sent again.

    read: returns at most so many bytes, fewer at the end. length: of the body in bytes. Raises BodyCutOff.
    """

    def __init__(self, read: Callable[[int], bytes], length: int) -> None:
        self.length = length
        self._read = read
        self._kept = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        if self._kept:
            yield bytes(self._kept)
        while left := self.length - len(self._kept):
            try:
                piece = self._read(min(left, CHUNK))
            except OSError:
                piece = b""
            if not piece:
                raise BodyCutOff
            self._kept += piece
            yield piece
