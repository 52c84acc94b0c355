"""A picture -> a machine layer: scale, network, gain and round, entropy code.

    pixels ──scale to `side`, pad to 16──> x ──encoder.onnx──> y ──* gain(quality), round──>
    integers ──common/codec.py──> bytes

The profile `recognise` codes a summary of y in place of y (common/coding/summary.py).

The network runs once a picture; every quality, and a search for a size in bytes, starts from y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.bitstream import SIDE_STEP_PX
from common.codec import Coded, MachineCodec
from common.coding.temporal import usual_hold
from common.errors import BadPicture, BadSettings
from common.geometry import MAX_SIDE_PX, STRIDE, working_size
from edge.capture.picture import Picture, Pixels, scale
from edge.coding.network import open_network
from edge.coding.providers import Precision, Provider
from edge.coding.weights import EdgeWeights, load_weights
from edge.rate import Plan

if TYPE_CHECKING:
    from edge.settings import EdgeSettings

_GREY = 128  # what the networks saw beyond a picture's edge in training
_LARGEST_INTEGER = 32767
_FIRST_STEP = 8  # of 255 in quality, down from a layer that was too large
_KEY_ROOM = 4  # an intra layer may take so many times what is planned for a layer of a chain


@dataclass(frozen=True)
class Analysis:
    """y: M h w float32, unit variance per channel; width, height of the source; side in pixels."""

    y: NDArray[np.float32]
    width: int
    height: int
    side: int


def open_encoder(settings: EdgeSettings) -> Encoder:
    """The encoder that is asked for. Raises BadSettings, and ModelMismatch for bad weights."""
    return Encoder(
        load_weights(settings.weights),
        threads=settings.threads,
        side=settings.side,
        provider=settings.provider,
        precision=settings.precision,
    )


class Encoder:
    """The edge's half of the machine codec. Holds no state: any thread may use it.

    threads    1 or more; ONNX Runtime's own pool, which sleeps between pictures
    side       longer side of the working picture in pixels, a multiple of 32, 32..4096
    provider   where the network runs
    precision  in which of its two forms; auto: int8 where this processor is made for it

    Raises BadSettings for a side, provider or precision that cannot be.
    """

    def __init__(
        self,
        weights: EdgeWeights,
        *,
        threads: int = 2,
        side: int = 640,
        provider: Provider = "cpu",
        precision: Precision = "auto",
    ) -> None:
        if side % SIDE_STEP_PX or not SIDE_STEP_PX <= side <= MAX_SIDE_PX:
            raise BadSettings(f"side {side}: a multiple of {SIDE_STEP_PX} up to {MAX_SIDE_PX}")
        self._network = open_network(
            weights, threads=threads, provider=provider, precision=precision
        )
        self._log_gain = weights.log_gain
        self._summaries = weights.summaries
        manifest = weights.manifest
        self._profiles = manifest.profiles
        self._codec = MachineCodec(weights.entropy, manifest.model_id, factors=manifest.factors)
        self._side = side

    @property
    def codec(self) -> MachineCodec:
        return self._codec

    @property
    def model_id(self) -> int:
        return self._codec.model_id

    def profile(self, name: str) -> int:
        """The number of a task profile. Raises BadSettings if these weights do not have it."""
        if name not in self._profiles:
            known = ", ".join(self._profiles)
            raise BadSettings(f"profile {name}: these weights have {known}")
        return self._profiles.index(name)

    @property
    def codes_inter(self) -> bool:
        """Whether these weights have tables for inter layers."""
        return self._codec.entropy.codes_inter

    @property
    def side(self) -> int:
        return self._side

    def analyse(self, picture: Picture) -> Analysis:
        """Runs the network. Raises BadPicture for pixels of another shape, type or size."""
        x = prepared(picture, self._side)
        (y,) = self._network.run(["y"], {"x": x[None]})
        return Analysis(y[0], picture.width, picture.height, self._side)

    def layer(self, analysis: Analysis, quality: float, profile: int = 0) -> bytes:
        """The machine layer's bytes at quality 0..1 (256 steps of it)."""
        if not 0.0 <= quality <= 1.0:
            raise BadSettings(f"quality {quality} is outside 0..1")
        return self._at(analysis, round(quality * 255), profile).data

    def layer_within(self, analysis: Analysis, most: int, profile: int = 0) -> bytes:
        """The best layer of at most `most` bytes; where even quality 0 is larger, quality 0.

        Between two steps of quality lie the layers with some of the finer one's integers: these
        are on the edge between two values, and it hardly matters to which of them they go.
        """
        start = self._at(analysis, 0, profile)
        if len(start.data) > most:
            return start.data
        quality, coarse = _last_within(
            most, start, 256, lambda quality: self._at(analysis, quality, profile)
        )
        if quality == 255:
            return coarse.data
        finer = self.integers(analysis, (quality + 1) / 255, profile)
        changes = np.flatnonzero(coarse.y != finer)

        def with_some(count: int) -> Coded:
            y = coarse.y.copy()
            y.flat[changes[:count]] = finer.flat[changes[:count]]
            return self._coded(analysis, y, quality, profile)

        return _last_within(most, coarse, len(changes), with_some)[1].data

    def coded(
        self,
        analysis: Analysis,
        plan: Plan,
        profile: int = 0,
        *,
        last: Coded | None = None,
        hold: float | None = None,
    ) -> Coded:
        """A layer as planned: the first that fits, from `best` down in growing steps.

        last  the layer before, for an inter layer; `hold` is then as in `quantise`, or as is usual

        Coarser than `layer_within`, and mostly done at the first try: rate control follows the
        scene by small steps of `best`.
        """
        quality, step = plan.best, _FIRST_STEP
        most = plan.most
        if most is not None and last is None and self.codes_inter:
            most *= _KEY_ROOM  # those after it are the shorter for it
        coded = self._at(analysis, quality, profile, last, hold)
        while most is not None and len(coded.data) > most and quality > plan.least:
            quality, step = max(quality - step, plan.least), 2 * step
            coded = self._at(analysis, quality, profile, last, hold)
        return coded

    def integers(self, analysis: Analysis, quality: float, profile: int = 0) -> NDArray[np.int16]:
        """What `layer` codes at this quality: M h w."""
        return quantise(
            self._latent(analysis, profile), self._log_gain[profile], round(quality * 255)
        )

    def _latent(self, analysis: Analysis, profile: int) -> NDArray[np.float32]:
        """What the profile codes of a picture: its latent, or a summary of it."""
        summary = self._summaries.get(profile)
        return analysis.y if summary is None else summary.of(analysis.y)

    def _at(
        self,
        analysis: Analysis,
        quality: int,
        profile: int,
        last: Coded | None = None,
        hold: float | None = None,
    ) -> Coded:
        log_gain, y = self._log_gain[profile], self._latent(analysis, profile)
        if last is not None:
            held = usual_hold(quality) if hold is None else hold
            integers = quantise(y, log_gain, quality, last.y, held)
            return self._codec.encode_inter(integers, last, quality=quality)
        return self._coded(analysis, quantise(y, log_gain, quality), quality, profile)

    def _coded(
        self, analysis: Analysis, integers: NDArray[np.int16], quality: int, profile: int
    ) -> Coded:
        """The layer of these integers that stands alone."""
        return self._codec.encode(
            integers,
            width=analysis.width,
            height=analysis.height,
            side=analysis.side,
            quality=quality,
            profile=profile,
        )


def _last_within(
    most: int, start: Coded, count: int, coded: Callable[[int], Coded]
) -> tuple[int, Coded]:
    """The last of 0..count - 1 whose layer has at most `most` bytes, and it; 0's is `start`."""
    at, best = 0, start
    while count - at > 1:
        middle = (at + count) // 2
        tried = coded(middle)
        if len(tried.data) <= most:
            at, best = middle, tried
        else:
            count = middle
    return at, best


def prepared(picture: Picture, side: int) -> Pixels:
    """The working picture as the network reads it: scaled, and padded to multiples of 16.

    Raises BadPicture for pixels of another shape, type or size.
    """
    pixels = picture.pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise BadPicture(f"not H x W x 3 bytes: {pixels.shape} {pixels.dtype}")
    width, height = size = working_size(picture.width, picture.height, side)
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(scale(Image.fromarray(pixels), size))
    padding = ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
    return np.pad(pixels, padding, constant_values=_GREY) if np.any(padding) else pixels


def quantise(
    y: NDArray[np.float32],
    log_gain: NDArray[np.float32],
    quality: int,
    last: NDArray[np.int16] | None = None,
    hold: float = 0.5,
) -> NDArray[np.int16]:
    """y M h w times the gain at quality 0..255, rounded; log_gain is levels x M.

    last  integers of the layer before: one of them stays while y times the gain is within `hold`
          of it, so that noise does not make it flip; at 1/2 that is plain rounding

    Between levels the gain is interpolated exponentially (Cui et al. 2021, eq. 5).
    """
    at = quality / 255 * (len(log_gain) - 1)
    low = min(int(at), len(log_gain) - 2)
    part = np.float32(at - low)
    gain = np.exp(log_gain[low] * (1 - part) + log_gain[low + 1] * part)
    scaled = y * gain[:, None, None]
    rounded = np.rint(scaled).clip(-_LARGEST_INTEGER, _LARGEST_INTEGER)
    if last is not None and hold > 0.5:
        rounded = np.where(np.abs(scaled - last) < hold, last, rounded)
    integers: NDArray[np.int16] = rounded.astype(np.int16)
    return integers
