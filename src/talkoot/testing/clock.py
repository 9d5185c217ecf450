"""A clock that moves when it is told to."""


class VirtualClock:
    """Monotonic and wall time on one hand; the wall clock may jump, as real ones do."""

    def __init__(self, start_s: float = 1_000.0, wall_ms: int = 1_800_000_000_000) -> None:
        self._now = start_s
        self._wall_offset_ms = wall_ms - int(start_s * 1000)

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        return self._now

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as people see it."""
        return int(self._now * 1000) + self._wall_offset_ms

    def advance(self, seconds: float) -> None:
        """Let time pass. A negative step is an error: monotonic time does not go back."""
        if seconds < 0:
            raise ValueError(f"time does not go back (by {seconds} s); use jump() for the wall clock")
        self._now += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a broken battery does."""
        self._wall_offset_ms += int(seconds * 1000)
