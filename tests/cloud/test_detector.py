"""The detector with the weights that ship: structure and determinism, not how well it sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cloud.detector import LayerDetector
from cloud.weights import CloudWeights
from common.bitstream import pack, unpack
from common.errors import CorruptStream, ModelMismatch
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from tests.weights import photograph


def test_boxes_are_of_the_source_picture(
    detector: LayerDetector, layers: list[bytes], weights: CloudWeights
) -> None:
    for layer in layers:
        detection = detector.detect(layer)
        assert (detection.header.width, detection.header.height) == (160, 120)
        assert detection.boxes
        scores = [box.score for box in detection.boxes]
        assert scores == sorted(scores, reverse=True)
        for box in detection.boxes:
            assert box.label in weights.manifest.labels
            assert 0 <= box.x1 <= box.x2 <= 160
            assert 0 <= box.y1 <= box.y2 <= 120


def test_the_same_layer_gives_the_same_boxes(
    detector: LayerDetector, weights: CloudWeights, layers: list[bytes]
) -> None:
    again = LayerDetector(weights, threads=1, min_score=0.0)
    assert [detector.detect(x) for x in layers] == [again.detect(x) for x in layers]


def test_company_in_a_batch_changes_nothing_that_matters(
    detector: LayerDetector, layers: list[bytes], encoder: Encoder
) -> None:
    """Other sizes between them; the order of the answers is that of the layers."""
    picture = Picture.whole(photograph(np.random.default_rng(1), 96, 64))
    other = encoder.layer(encoder.analyse(picture), 0.4)
    mixed = [layers[0], other, layers[1], other, layers[2]]
    together = detector.detect_read([detector.read(layer) for layer in mixed])
    for layer, detection in zip(mixed, together, strict=True):
        alone = detector.detect(layer)
        assert detection.header == alone.header
        surest, best = detection.boxes[0], alone.boxes[0]
        assert surest.score == pytest.approx(best.score, abs=1e-4)
        assert (surest.x1, surest.y2) == pytest.approx((best.x1, best.y2), abs=0.2)


def test_boxes_under_the_score_are_left_out(
    detector: LayerDetector, weights: CloudWeights, layers: list[bytes]
) -> None:
    every = detector.detect(layers[0]).boxes
    threshold = every[0].score - 1e-6
    strict = LayerDetector(weights, threads=1, min_score=threshold)
    assert strict.detect(layers[0]).boxes == tuple(b for b in every if b.score > threshold)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 300), (1500, 40)])
def test_odd_sizes(detector: LayerDetector, encoder: Encoder, width: int, height: int) -> None:
    picture = Picture.whole(photograph(np.random.default_rng(2), height, width))
    for quality in (0.0, 1.0):
        detection = detector.detect(encoder.layer(encoder.analyse(picture), quality))
        assert all(box.x2 <= width and box.y2 <= height for box in detection.boxes)


def test_integers_that_no_encoder_makes(detector: LayerDetector, weights: CloudWeights) -> None:
    rng = np.random.default_rng(3)
    channels = weights.codec.entropy.channels
    for limit in (1, 100, 32767):
        y = rng.integers(-limit, limit + 1, (channels, 8, 10)).astype(np.int16)
        layer = weights.codec.encode(y, width=160, height=120, side=640, quality=0)
        detector.detect(layer.data)


def test_what_a_network_says_at_infinity_is_still_a_box(
    detector: LayerDetector, layers: list[bytes], weights: CloudWeights
) -> None:
    header = detector.read(layers[0]).header
    inf, nan, far = float("inf"), float("nan"), 1e30
    anchors = [  # logit of the first class, and the box
        (nan, [1.0, 1.0, 9.0, 9.0]),
        (inf, [-far, -far, far, far]),
        (2.0, [nan, 1.0, 9.0, nan]),
        (3.0, [-inf, 1.0, inf, 9.0]),
        (1.0, [1.0, 1.0, 9.0, 9.0]),
    ]
    logits = torch.full((len(anchors), len(weights.manifest.labels)), -inf)
    logits[:, 0] = torch.tensor([logit for logit, _ in anchors])
    found = detector._boxes(header, logits, torch.tensor([box for _, box in anchors]))
    assert [round(box.score, 2) for box in found] == [1.0, 0.73]
    assert (found[0].x1, found[0].y1, found[0].x2, found[0].y2) == (0, 0, 160, 120)


class TestWhatItDoesNotRead:
    @pytest.mark.parametrize("data", [b"", b"x", bytes(100)], ids=len)
    def test_other_bytes(self, detector: LayerDetector, data: bytes) -> None:
        with pytest.raises(CorruptStream):
            detector.detect(data)

    def test_a_corrupt_body(self, detector: LayerDetector, corrupt: bytes) -> None:
        with pytest.raises(CorruptStream):
            detector.detect(corrupt)

    def test_a_damaged_layer(self, detector: LayerDetector, layers: list[bytes]) -> None:
        rng = np.random.default_rng(4)
        for _ in range(50):
            data = bytearray(layers[0])
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            with pytest.raises((CorruptStream, ModelMismatch)):
                detector.detect(bytes(data))

    def test_another_model(self, detector: LayerDetector, layers: list[bytes]) -> None:
        header, body = unpack(layers[0], None)
        other = replace(header, model=header.model ^ 0x8000)
        with pytest.raises(ModelMismatch, match=f"{other.model:04x}"):
            detector.detect(pack(other, body))

    def test_a_task_profile_that_the_model_has_not(
        self, detector: LayerDetector, layers: list[bytes]
    ) -> None:
        header, body = unpack(layers[0], None)
        other = replace(header, profile=15)
        with pytest.raises(ModelMismatch, match="15"):
            detector.detect(pack(other, body))
