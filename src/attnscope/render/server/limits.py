"""How much the server accepts: sizes, queues and rates, and how it refuses."""

import time
from collections.abc import Callable
from dataclasses import dataclass


class Refusal(Exception):
    """A refused request: the HTTP status, one word for programs, one paragraph for people."""

    def __init__(self, status: int, kind: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.retry_after = status, kind, message, retry_after


@dataclass(frozen=True)
class Limits:
    """What one server accepts.

    body: bytes of a request. seconds: the time a request may take to arrive. head: the part of it that its head may take.
    silent: connections on which no head has come. at_once: requests under way. waiting: texts that wait for a model.
    asking: requests for layers that wait. burst, rate: requests of one address at once, and per second after that. keep:
    bytes of traces and answers in memory.
    """

    body: int = 256_000
    seconds: float = 30
    head: float = 10
    silent: int = 256
    at_once: int = 1000
    waiting: int = 256
    asking: int = 1000
    burst: int = 1000
    rate: float = 100
    keep: int = 512_000_000


class Meter:
    """Requests of each address: `burst` at once, refilled at `rate` per second."""

    def __init__(self, burst: int, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate, self._now = burst, rate, now
        self._seen: dict[str, tuple[float, float]] = {}

    def take(self, address: str) -> None:
        """Count one request. Raises Refusal (429) if there were too many."""
        now = self._now()
        left, last = self._seen.get(address, (float(self._burst), now))
        left = min(float(self._burst), left + (now - last) * self._rate)
        if left < 1:
            wait = max(1, round((1 - left) / self._rate))
            raise Refusal(
                429,
                "too_many",
                f"too many requests from {address}: the server answers {self._burst} at once and {self._rate:g} per second. "
                f"Nothing is lost; try again in {wait} s.",
                wait,
            )
        self._seen[address] = (left - 1, now)
        if len(self._seen) > 10_000:  # an address that was away long enough may send `burst` again: forget it
            full = self._burst / self._rate
            self._seen = {who: seen for who, seen in self._seen.items() if now - seen[1] < full}
