"""The waveform of a sound as a list of lowest and highest values, in the JSON form of BBC's audiowaveform, version 2.

    {"version": 2, "channels": 1, "sample_rate": 16000, "samples_per_pixel": 512, "bits": 8, "length": 937,
     "data": [-12, 15, -90, 88, …]}     `length` pairs of a minimum and a maximum, -128 to 127

Players (peaks.js, wavesurfer.js, …) take it as it is. Invariant: memory is bounded by `points`, however long the sound
is and whatever its header said: whenever there are twice as many pairs, every two become one.
"""

import json
from array import array

RATE = 16_000
FIRST_SAMPLES = 64
BITS = 8


class Peaks:
    """Takes mono samples of 16 bits at RATE."""

    def __init__(self, points: int) -> None:
        self._points = points
        self._each = FIRST_SAMPLES
        self._rest = array("h")
        self._pairs: list[tuple[int, int]] = []

    def take(self, samples: "array[int]") -> None:
        self._rest.extend(samples)
        at = 0
        while len(self._rest) - at >= self._each:
            some = self._rest[at : at + self._each]
            at += self._each
            self._pairs.append((min(some), max(some)))
            if len(self._pairs) == 2 * self._points:
                self._halve()
        self._rest = self._rest[at:]

    def document(self) -> bytes:
        if self._rest:
            self._pairs.append((min(self._rest), max(self._rest)))
            self._rest = array("h")
        if len(self._pairs) > self._points:
            self._halve()
        data = [value >> (16 - BITS) for pair in self._pairs for value in pair]
        form = {"version": 2, "channels": 1, "sample_rate": RATE, "samples_per_pixel": self._each, "bits": BITS}
        return json.dumps({**form, "length": len(self._pairs), "data": data}, separators=(",", ":")).encode()

    def _halve(self) -> None:
        """Two pairs become one; an odd one is the last of the sound."""
        merged = [
            (min(low, next_low), max(high, next_high))
            for (low, high), (next_low, next_high) in zip(self._pairs[::2], self._pairs[1::2], strict=False)
        ]
        if len(self._pairs) % 2:
            merged.append(self._pairs[-1])
        self._pairs = merged
        self._each *= 2
