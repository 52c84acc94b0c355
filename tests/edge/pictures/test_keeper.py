from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.bitstream import Kind, unpack
from common.codec import Coded
from common.session.events import AuxiliaryOutcome
from common.types import FrameId
from edge.capture.picture import Picture, Pixels
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder
from edge.coding.weights import EdgeWeights
from edge.pictures.keeper import Keeper, no_auxiliary, pack_picture, unpack_picture
from edge.pictures.ring import Kept, Ring
from edge.rate import Plan
from tests.edge.small_auxiliary import SmallAuxiliary
from tests.weights import film


@pytest.fixture(scope="module")
def encoder(weights: EdgeWeights) -> Encoder:
    return Encoder(weights, threads=1)


@pytest.fixture(scope="module")
def shots(encoder: Encoder) -> list[tuple[Pixels, Coded]]:
    """A chain: one intra layer, then inter layers."""
    chain = Chain(encoder)
    pictures = film(np.random.default_rng(3), 4, 120, 160)
    coded = [chain.code(encoder.analyse(Picture.whole(p)), Plan(120, 120)) for p in pictures]
    assert coded[-1].header.kind is Kind.MACHINE_INTER
    return list(zip(pictures, coded, strict=True))


def ring(folder: Path) -> Ring:
    return Ring(folder, max_bytes=1 << 20, max_age=3600)


def keeper(mode: Any, folder: Path, encoder: Encoder, auxiliary: Any = None) -> Keeper:
    return Keeper(mode, ring(folder), auxiliary or SmallAuxiliary(), encoder.codec, quality=200)


def frame(seq: int) -> FrameId:
    return FrameId("gate", "b1", seq)


def keep(kept: Keeper, shots: list[tuple[Pixels, Coded]]) -> None:
    for seq, (picture, coded) in enumerate(shots):
        kept.offer(frame(seq), picture, coded)
        assert kept.settle(20)


def test_later_codes_what_was_kept_over_its_own_integers(
    tmp_path: Path, encoder: Encoder, shots: list[tuple[Pixels, Coded]]
) -> None:
    with keeper("later", tmp_path, encoder) as kept:
        keep(kept, shots)
        for seq, (picture, coded) in enumerate(shots):
            for quality in (10, 250):
                answer = kept.find(frame(seq), quality)
                assert answer.outcome is AuxiliaryOutcome.SENT
                header, body = unpack(answer.data, coded.header.model)
                assert (header.kind, header.quality) == (Kind.AUXILIARY_INTRA, quality)
                near = SmallAuxiliary().encode(picture, coded, quality)
                there = np.frombuffer(unpack(near, coded.header.model)[1], np.uint8)[1:]
                got = np.frombuffer(body, np.uint8)[1:]
                assert np.abs(got.astype(int) - there).max() <= 3  # of what JPEG loses
        assert (kept.kept, kept.missed) == (len(shots), 0)


def test_a_picture_keeps_the_integers_of_an_inter_layer(
    encoder: Encoder, shots: list[tuple[Pixels, Coded]]
) -> None:
    picture, coded = shots[-1]
    pixels, base = unpack_picture(pack_picture(picture, coded, encoder.codec), encoder.codec)
    assert np.array_equal(base.y, coded.y)
    assert (base.header.quality, base.header.kind) == (coded.header.quality, Kind.MACHINE_INTRA)
    assert pixels.shape == picture.shape
    assert np.abs(pixels.astype(int) - picture).mean() < 4


def test_with_frame_sends_what_was_made_then(
    tmp_path: Path, encoder: Encoder, shots: list[tuple[Pixels, Coded]]
) -> None:
    with keeper("with_frame", tmp_path, encoder) as kept:
        keep(kept, shots)
        made = SmallAuxiliary().encode(*shots[2], 200)
        assert kept.find(frame(2), 10).data == made
    with keeper("later", tmp_path, encoder) as after:  # a restart, with another setting
        assert after.find(frame(2), 10).data == made


def test_a_frame_that_is_not_kept(tmp_path: Path, encoder: Encoder) -> None:
    with keeper("later", tmp_path, encoder) as kept:
        assert kept.find(frame(1), 10).outcome is AuxiliaryOutcome.EXPIRED
    assert no_auxiliary(frame(1), 10).outcome is AuxiliaryOutcome.UNSUPPORTED


def test_an_encoder_that_fails_says_so_and_the_next_frame_is_kept(
    tmp_path: Path, encoder: Encoder, shots: list[tuple[Pixels, Coded]]
) -> None:
    black = np.zeros((120, 160, 3), np.uint8), shots[0][1]
    with keeper("later", tmp_path, encoder) as kept:
        keep(kept, [black])
        answer = kept.find(frame(0), 10)
        assert (answer.outcome, answer.reason) == (AuxiliaryOutcome.FAILED, "it is black")
    with keeper("with_frame", tmp_path / "other", encoder) as kept:
        keep(kept, [black, shots[1]])
        assert kept.find(frame(0), 10).outcome is AuxiliaryOutcome.EXPIRED
        assert kept.find(frame(1), 10).outcome is AuxiliaryOutcome.SENT
        assert (kept.kept, kept.missed) == (1, 1)


def test_what_another_version_kept_is_an_answer_and_no_crash(
    tmp_path: Path, encoder: Encoder
) -> None:
    ring(tmp_path).put(frame(1), Kept("picture", b"\0\0\0\x09nonsense"))
    with keeper("later", tmp_path, encoder) as kept:
        assert kept.find(frame(1), 10).outcome is AuxiliaryOutcome.FAILED


def test_a_slow_encoder_misses_frames_and_holds_nobody_up(
    tmp_path: Path, encoder: Encoder, shots: list[tuple[Pixels, Coded]]
) -> None:
    class Held(SmallAuxiliary):
        began, gate = threading.Event(), threading.Event()

        def encode(self, picture: Pixels, base: Coded, quality: int) -> bytes:
            self.began.set()
            self.gate.wait()
            return super().encode(picture, base, quality)

    auxiliary = Held()
    with keeper("with_frame", tmp_path, encoder, auxiliary) as kept:
        kept.offer(frame(0), *shots[0])
        assert auxiliary.began.wait(20)
        for seq in (1, 2, 3):
            kept.offer(frame(seq), *shots[seq])
        auxiliary.gate.set()
        assert kept.settle(20)
        found = [kept.find(frame(seq), 0).outcome is AuxiliaryOutcome.SENT for seq in range(4)]
        assert found == [True, False, False, True]
        assert (kept.kept, kept.missed) == (2, 2)
