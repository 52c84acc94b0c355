"""What messages cost on the wire beyond the layers in them: an estimate, then learned.

    wire bytes of a message = message + layer * layers in it + bytes of these layers

`message` is headers and answers, `layer` a layer's entry and what is said of it. Both are learned
together, from what the kernel has counted each time that answers have come (a Kalman filter of two
states that hardly move): where every message holds one layer only their sum can be known, and only
the sum matters. Pure: no clock, no socket.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge.rate.congestion import Sent

_ENOUGH = 10  # messages, or layers, to learn from at once
_MESSAGE_DOUBT = 0.3  # of the first estimates: standard deviations
_LAYER_DOUBT = 0.7
_DRIFT = 0.04  # of an estimate, from one round to the next
_NOISE = 0.1  # of what a round cost: telemetry, repeated segments, answers that come late
_LEAST_NOISE = 50.0  # bytes
_MOST = 5.0  # times the first estimate


class Overhead:
    """message, layer: expected wire bytes, both ways."""

    def __init__(self, message: float, layer: float) -> None:
        self.message = message
        self.layer = layer
        self._most = _MOST * message, _MOST * layer
        self._variances = (_MESSAGE_DOUBT * message) ** 2, (_LAYER_DOUBT * layer) ** 2
        self._covariance = 0.0
        self._began: float | None = None  # wire bytes when this round of learning began
        self._messages = 0
        self._layers = 0
        self._payload = 0.0

    def cost(self, sizes: Sequence[int]) -> float:
        """Wire bytes of a message with layers of these sizes."""
        return self.message + len(sizes) * self.layer + sum(sizes)

    def connected(self) -> None:
        """A handshake is no message: begin anew."""
        self._began = None

    def acked(self, message: Sent) -> None:
        self._messages += 1
        self._layers += message.layers
        self._payload += message.payload

    def beside(self, cost: float) -> None:
        """Wire bytes that were spent on something else."""
        self._payload += cost

    def measured(self, wire: int, in_flight: float) -> None:
        """The kernel's count; what is in flight has been carried in part, by half say."""
        settled = wire - in_flight / 2
        if self._began is not None:
            if max(self._messages, self._layers) < _ENOUGH:
                return
            self._learn(settled - self._began - self._payload)
        elif not self._messages:
            return
        self._began, self._messages, self._layers, self._payload = settled, 0, 0, 0.0

    def _learn(self, seen: float) -> None:
        m, n = self._messages, self._layers
        mm = self._variances[0] + (_DRIFT * self.message) ** 2
        ll = self._variances[1] + (_DRIFT * self.layer) ** 2
        ml = self._covariance
        noise = max(_NOISE * (seen + self._payload), _LEAST_NOISE) ** 2
        to_message, to_layer = m * mm + n * ml, m * ml + n * ll
        total = m * to_message + n * to_layer + noise
        error = seen - m * self.message - n * self.layer
        self.message = _within(self.message + to_message / total * error, self._most[0])
        self.layer = _within(self.layer + to_layer / total * error, self._most[1])
        self._variances = mm - to_message**2 / total, ll - to_layer**2 / total
        self._covariance = ml - to_message * to_layer / total


def _within(value: float, most: float) -> float:
    return min(max(value, 0.0), most)
