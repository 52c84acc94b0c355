from __future__ import annotations

import warnings

import av
import numpy as np
import onnxruntime
import pytest
import torch

from bench.accuracy.pixel import PixelDetector
from cloud.detector import LayerDetector
from cloud.models.detector import DetectorConfig
from cloud.models.machine import MachineConfig
from cloud.weights import load_weights as load_for_cloud
from edge.capture.picture import Picture
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_for_edge
from edge.rate import Plan
from tests.train.scenes import make_folder
from tests.weights import photograph
from train.export import encoder_onnx, export, export_pixel
from train.machine import Network, Recipe, train
from train.recognise import Recipe as RecogniseRecipe
from train.recognise import train as train_recognise


def clip(folder):
    path = folder / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for i in range(20):
            pixels = np.full((64, 96, 3), 90, np.uint8)
            pixels[20:40, 3 * i : 3 * i + 20] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    base = tmp_path_factory.mktemp("export")
    folder = make_folder(base / "scenes")
    recipe = Recipe(minutes=0.02, batch=2, size=64, evaluate_images=1)
    cpu = torch.device("cpu")
    train(recipe, folder, base / "run", None, cpu)
    train_recognise(RecogniseRecipe(minutes=0, views=1), folder, base / "run", base / "own", cpu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        export(
            base / "run",
            folder,
            base / "weights",
            "tiny",
            [clip(base)],
            pictures=4,
            recogniser=base / "own",
        )
    return base / "weights"


def test_the_edge_codes_what_the_cloud_reads_bit_for_bit(exported):
    edge, cloud = load_for_edge(exported), load_for_cloud(exported)
    assert edge.manifest == cloud.manifest
    encoder = Encoder(edge, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    analysis = encoder.analyse(Picture.whole(pixels))
    for profile, size in ((0, (4, 5)), (1, (1, 2))):
        for quality in (0.0, 0.5, 1.0):
            layer = encoder.layer(analysis, quality, profile)
            coded = cloud.codec.decode(layer)
            header, integers = coded.header, coded.y
            assert (header.width, header.height, header.profile) == (70, 50, profile)
            assert integers.shape[1:] == size
            assert cloud.codec.encode(
                integers, width=70, height=50, side=header.side, quality=header.quality,
                profile=profile,
            ).data == layer  # fmt: skip


def test_both_profiles_have_tables_of_their_own(exported):
    tables = load_for_edge(exported).entropy.to_arrays()
    for name in (name for name in tables if name.endswith("profiles")):
        assert tables[name].tolist() == [0, 1], name


def test_the_edge_summarises_what_the_cloud_recognises(exported):
    edge, cloud = load_for_edge(exported), LayerDetector(load_for_cloud(exported), min_score=0.0)
    encoder = Encoder(edge, threads=1)
    assert edge.summaries[1].factor == 4
    assert edge.log_gain.shape[0] == 2
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    layer = encoder.layer(encoder.analyse(Picture.whole(pixels)), 1.0, encoder.profile("recognise"))
    assert {p.label for p in cloud.detect(layer).presences} == set(edge.manifest.labels)


def test_the_weights_code_chains(exported):
    edge, cloud = load_for_edge(exported), load_for_cloud(exported)
    encoder = Encoder(edge, threads=1)
    chain, last = Chain(encoder), None
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    for place in (1, 2, 3):
        analysis = encoder.analyse(Picture.whole(pixels))
        coded = chain.code(analysis, Plan(128, 128))
        last = cloud.codec.decode(coded.data, last)
        np.testing.assert_array_equal(last.y, coded.y)
        assert last.place == place
        assert place == 1 or len(coded.data) < 12  # nothing has changed


def test_the_int8_network_stands_beside_the_float_one(exported):
    weights = load_for_edge(exported)
    assert weights.encoder_int8 is not None
    assert len(weights.encoder_int8) < 0.4 * len(weights.encoder)
    picture = Picture.whole(photograph(np.random.default_rng(4), 96, 130))
    fp32, int8 = (
        Encoder(weights, threads=1, precision=precision).analyse(picture).y
        for precision in ("fp32", "int8")
    )
    assert 0 < np.square(int8 - fp32).mean() < 0.02 * fp32.var()


def test_onnx_runtime_computes_what_torch_does_at_any_size():
    torch.manual_seed(0)
    network = Network(MachineConfig(), DetectorConfig(classes=2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = encoder_onnx(network.machine.encoder)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for height, width in ((16, 16), (48, 112), (160, 64)):
        x = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), np.uint8)
        (y,) = session.run(["y"], {"x": x})
        with torch.inference_mode():
            wanted = network.machine.encoder(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255)
        assert np.abs(y - wanted.numpy()).max() < 1e-3
        assert y.shape == (1, 64, height // 16, width // 16)


def test_a_pixel_run_ships_small_and_is_still_one(tmp_path):
    folder = make_folder(tmp_path / "scenes")
    recipe = Recipe(minutes=0.02, batch=2, size=64, evaluate_images=1, bottleneck=False)
    cpu = torch.device("cpu")
    train(recipe, folder, tmp_path / "run", None, cpu)
    export_pixel(tmp_path / "run", tmp_path / "shipped")
    whole, small = (path / "last.pt" for path in (tmp_path / "run", tmp_path / "shipped"))
    assert small.stat().st_size < whole.stat().st_size / 4
    detectors = [PixelDetector(path.parent) for path in (whole, small)]
    assert detectors[0].about == detectors[1].about
    picture = photograph(np.random.default_rng(0), 64, 96)
    found = [each.detect([picture], 96, 64, 96)[0] for each in detectors]
    assert len(found[0]) == len(found[1])
    assert np.allclose(found[0][:, 0], found[1][:, 0], atol=0.02)
    onward = Recipe(**(vars(recipe) | {"minutes": 0.0, "bottleneck": True}))
    run = train(onward, folder, tmp_path / "on", small, cpu, small.parent)
    assert run.recipe.rate_ramp > 0  # its rate is not learnt yet
    train(Recipe(**(vars(recipe) | {"bottleneck": True})), folder, tmp_path / "codec", small, cpu)
    with pytest.raises(ValueError, match="bottleneck"):
        export_pixel(tmp_path / "codec", tmp_path / "none")
