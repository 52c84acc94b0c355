"""Recognise layers in the cloud: which classes are in view, from a model that has a recogniser."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import glimpse
from cloud.detector import LayerDetector
from cloud.folder import data_files
from cloud.models.recogniser import RecogniserConfig
from cloud.weights import RECOGNISER, load_weights
from common.bitstream import RECOGNISE, Kind, pack, unpack
from common.errors import ModelMismatch
from common.manifest import Manifest
from edge.capture.picture import Picture
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_for_edge
from edge.rate import Plan
from glimpse.v1 import detection_pb2
from tests.cloud.serving import serving, until
from tests.recogniser import add_recogniser
from tests.weights import photograph


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recognise") / "weights"
    add_recogniser(tiny_folder, made)
    return made


@pytest.fixture(scope="module")
def recogniser(folder: Path) -> LayerDetector:
    return LayerDetector(load_weights(folder), threads=1, min_score=0.0)


@pytest.fixture(scope="module")
def recognising(folder: Path) -> Encoder:
    return Encoder(load_for_edge(folder), threads=1)


def coded(
    encoder: Encoder, profile: int, seed: int = 0, size: tuple[int, int] = (120, 160)
) -> bytes:
    picture = Picture.whole(photograph(np.random.default_rng(seed), *size))
    return encoder.layer(encoder.analyse(picture), 0.6, profile)


def test_a_recognise_layer_gives_every_class_a_score(
    recogniser: LayerDetector, recognising: Encoder
) -> None:
    detection = recogniser.detect(coded(recognising, RECOGNISE))
    assert detection.boxes == ()
    assert detection.header.profile == RECOGNISE
    assert {p.label for p in detection.presences} == set(recogniser.labels)
    scores = [p.score for p in detection.presences]
    assert scores == sorted(scores, reverse=True)


def test_presences_under_the_score_are_left_out(folder: Path, recognising: Encoder) -> None:
    layer = coded(recognising, RECOGNISE)
    weights = load_weights(folder)
    every = LayerDetector(weights, threads=1, min_score=0.0).detect(layer).presences
    strict = LayerDetector(weights, threads=1, min_score=every[1].score)
    assert strict.detect(layer).presences == every[:1]


def test_both_profiles_share_a_batch_and_not_their_answers(
    recogniser: LayerDetector, recognising: Encoder
) -> None:
    """A detect layer of 32 x 48 pixels has as many integers as a recognise layer of 120 x 160."""
    mixed = [
        coded(recognising, RECOGNISE, 0),
        coded(recognising, 0, 1, (32, 48)),
        coded(recognising, RECOGNISE, 2),
        coded(recognising, 0, 3),
    ]
    read = [recogniser.read(layer) for layer in mixed]
    assert read[0].y.shape == read[1].y.shape
    for layer, together in zip(mixed, recogniser.detect_read(read), strict=True):
        alone = recogniser.detect(layer)
        assert together.header == alone.header
        assert [b.label for b in together.boxes[:1]] == [b.label for b in alone.boxes[:1]]
        assert [p.label for p in together.presences] == [p.label for p in alone.presences]
        assert [p.score for p in together.presences] == pytest.approx(
            [p.score for p in alone.presences], abs=1e-4
        )


def test_integers_that_no_encoder_makes(recogniser: LayerDetector) -> None:
    y = np.full((recogniser.codec.entropy.channels, 2, 3), 32767, np.int16)
    layer = recogniser.codec.encode(
        y, width=160, height=120, side=640, quality=0, profile=RECOGNISE
    )
    assert all(0 <= p.score <= 1 for p in recogniser.detect(layer.data).presences)


def test_a_recogniser_that_says_nothing_sees_nothing(
    folder: Path, recognising: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = LayerDetector(load_weights(folder), threads=1, min_score=0.0)
    network = detector._weights.recogniser
    assert network is not None
    nothing = torch.full((1, len(detector.labels)), float("nan"))
    monkeypatch.setattr(network, "forward", lambda *_: nothing)
    assert detector.detect(coded(recognising, RECOGNISE)).presences == ()


class TestService:
    async def test_presences_reach_everyone_who_asks(
        self, folder: Path, recogniser: LayerDetector, recognising: Encoder, tmp_path: Path
    ) -> None:
        """The camera, who watches, who has a layer at hand, who asks the archive: one answer."""
        layer = coded(recognising, RECOGNISE)
        wanted: list[Any] = [
            (p.label, pytest.approx(p.score, abs=1e-6)) for p in recogniser.detect(layer).presences
        ]
        async with (
            serving(tmp_path, weights=folder, min_score=0.0) as served,
            served.viewer() as viewer,
            served.camera() as camera,
        ):
            watching = viewer.watch(detection_pb2.WatchRequest())
            await watching.initial_metadata()
            await camera.send((0, layer), (1, coded(recognising, 0)))
            await camera.boxes([0, 1])
            told, boxed = camera.results[0], camera.results[1]
            assert (told.has_boxes, list(told.boxes)) == (True, [])
            assert pairs(told) == wanted
            assert (boxed.has_boxes, pairs(boxed)) == (True, [])
            seen = {r.seq: r for r in [await watching.read() for _ in range(2)]}
            assert (pairs(seen[0]), list(seen[0].boxes)) == (wanted, [])
            assert pairs(seen[1]) == []
            watching.cancel()
            asked = await viewer.detect(detection_pb2.DetectRequest(layer=layer))
            assert (asked.profile, pairs(asked)) == (RECOGNISE, wanted)
            surest = asked.presences[0].score
            some = detection_pb2.DetectRequest(layer=layer, min_score=surest)
            assert pairs(await viewer.detect(some)) == wanted[:1]
            await until(lambda: served.stored()[0].boxes is not None)
            token = served.viewer_token
            client = glimpse.AsyncClient.connect(
                f"127.0.0.1:{served.running.port}",
                ca=data_files(served.settings.data)[2].authority,
                token=token,
            )
            async with client:
                label = wanted[-1][0]
                frames = [f async for f in client.frames(label=label) if f.frame.seq == 0]
                assert [(p.label, p.score) for p in frames[0].presences] == wanted
                assert frames[0].boxes == ()
                detection = await client.detect(layer)
                assert [(p.label, p.score) for p in detection.presences] == wanted

    async def test_chains_of_recognise_layers(
        self, folder: Path, recogniser: LayerDetector, recognising: Encoder, tmp_path: Path
    ) -> None:
        chain = Chain(recognising)
        rng = np.random.default_rng(3)
        picture = photograph(rng, 120, 160)
        codeds = []
        for i in range(3):
            moved = Picture.whole(np.roll(picture, 8 * i, axis=1))
            plan = Plan(200, 200)
            codeds.append(chain.code(recognising.analyse(moved), plan, RECOGNISE))
        assert [c.place for c in codeds] == [1, 2, 3]
        async with (
            serving(tmp_path, weights=folder, min_score=0.0) as served,
            served.camera() as camera,
        ):
            await camera.send(*((i, c.data) for i, c in enumerate(codeds)))
            await camera.boxes(range(3))
            for i, made in enumerate(codeds):
                (alone,) = recogniser.detect_read([made])
                assert pairs(camera.results[i]) == [
                    (p.label, pytest.approx(p.score, abs=1e-4)) for p in alone.presences
                ]


def pairs(message: Any) -> list[Any]:
    return [(p.label, p.score) for p in message.presences]


class TestWeights:
    def test_a_model_without_a_recogniser_refuses_its_layers(
        self, tiny: LayerDetector, tiny_folder: Path
    ) -> None:
        header, body = unpack(coded(Encoder(load_for_edge(tiny_folder), threads=1), 0), None)
        asked = pack(replace(header, kind=Kind.MACHINE_INTRA, profile=RECOGNISE), body)
        with pytest.raises(ModelMismatch, match="no task profile 1"):
            tiny.inspect(asked)
        with pytest.raises(ModelMismatch, match="no task profile 1"):
            tiny.detect(asked)

    def test_a_third_profile_is_refused(
        self, recogniser: LayerDetector, recognising: Encoder
    ) -> None:
        header, body = unpack(coded(recognising, RECOGNISE), None)
        with pytest.raises(ModelMismatch, match="no task profile 2"):
            recogniser.detect(pack(replace(header, profile=2), body))

    @pytest.mark.parametrize(
        "config",
        [{"classes": 4}, {"latent": 8}, {"width": 8}, {"wide": 16}],
        ids=lambda c: next(iter(c)),
    )
    def test_a_recogniser_that_does_not_fit_is_refused(
        self, folder: Path, tmp_path: Path, config: dict[str, int]
    ) -> None:
        usual = asdict(RecogniserConfig(latent=16, classes=5, width=16))
        bad = rebuilt(folder, tmp_path / "bad", json.dumps(usual | config))
        with pytest.raises(ModelMismatch, match="recogniser"):
            load_weights(bad)

    def test_a_changed_file_is_named(self, folder: Path, tmp_path: Path) -> None:
        bad = rebuilt(folder, tmp_path / "bad", None)
        data = bytearray((bad / RECOGNISER).read_bytes())
        data[len(data) // 2] ^= 1
        (bad / RECOGNISER).write_bytes(data)
        with pytest.raises(ModelMismatch, match=RECOGNISER):
            load_weights(bad)


def rebuilt(folder: Path, target: Path, config: str | None) -> Path:
    """A copy of the folder, with this description of its recogniser in the manifest."""
    old = Manifest.parse((folder / "manifest.json").read_bytes())
    files = {name: (folder / name).read_bytes() for name in old.files}
    trained = dict(old.trained)
    if config is not None:
        trained["recogniser"] = config
    made = Manifest.build(
        files,
        name=old.name,
        codec=old.codec,
        labels=old.labels,
        profiles=old.profiles,
        trained=trained,
    )
    target.mkdir()
    for name, content in files.items():
        (target / name).write_bytes(content)
    (target / "manifest.json").write_bytes(made.to_json())
    return target
