"""A finished run -> a weights folder: everything that edge and cloud load, and nothing else.

encoder.onnx            x uint8 1 H W 3 -> y float32 1 M H/16 W/16        edge
encoder.int8.onnx       the same in int8 (int8.py)                        edge
gains.npy               profiles x levels x M, logarithms, float32        edge
tables.npz              counted integer tables (common/coding/entropy.py)        both
detector.safetensors    detector and inverse gains, float16               cloud
manifest.json           hashes of the above, the model id made of them, labels, how it was trained

With a run of the profile `recognise` beside it:

recognise.npz           weight and bias of its summary of y, float32      edge
recogniser.safetensors  recogniser and inverse gains, float16             cloud
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn

from cloud.models.machine import STRIDE, Encoder
from common.coding.entropy import EntropyModel
from common.manifest import Manifest
from train.data import CocoFolder, Pixels, Sample
from train.evaluate import scaled, to_input
from train.int8 import int8
from train.machine import Network, load_network
from train.profiles import Ints, Profile, detect, recognise
from train.recognise import Recognition, load_recognition
from train.sequences import from_clip, from_picture

QUALITIES = tuple(round((band + 0.5) * 255 / 8) for band in range(8))  # one in each band
SIDES = (640, 448)  # longer sides in pixels at which tables are counted, in turn
CLIP_FPS = 5.0


class _Camera(nn.Module):
    """The encoder with what the edge would otherwise do in numpy: bytes in, planes out."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.encoder(x.permute(0, 3, 1, 2).float() / 255)
        return y


def export(
    run: Path,
    data: Path,
    out: Path,
    name: str,
    clips: Sequence[Path] = (),
    pictures: int = 600,
    recogniser: Path | None = None,
) -> Manifest:
    """Writes `out` and returns its manifest.

    recogniser  folder of a run of the profile `recognise` on the same trunk

    Intra tables are counted on the first `pictures` of train; inter tables on a fourth of them set
    in motion, and on the first half of each of `clips`, seen by fixed cameras.
    """
    network, state = load_network(run)
    training = CocoFolder(data, "train", pictures)
    profiles = {"detect": detect(network)}
    encoder = encoder_onnx(network.machine.encoder)
    files = {
        "encoder.onnx": encoder,
        "encoder.int8.onnx": int8(encoder, spread(training.samples)),
        "detector.safetensors": save(_detector_tensors(network)),
    }
    log_gain = network.machine.gains.log_gain.detach()
    codec = {"channels": network.machine.config.latent, "stride": STRIDE}
    trained = {}
    if recogniser is not None:
        recognition, taught = load_recognition(recogniser)
        profiles["recognise"] = recognise(recognition)
        files |= _recognition_files(recognition)
        log_gain = torch.cat([log_gain, recognition.gains.log_gain.detach()])
        codec["pool_recognise"] = recognition.config.factor
        trained["recogniser"] = json.dumps(taught["recogniser"])
    entropy = EntropyModel.count(
        latents(network, training, [*profiles.values()]),
        network.machine.config.latent,
        sequences(network, training, clips, [*profiles.values()]),
    )
    files["gains.npy"] = _npy(log_gain.float().numpy())
    files["tables.npz"] = _npz(entropy.to_arrays())
    manifest = Manifest.build(
        files,
        name=name,
        codec=codec,
        labels=training.labels,
        profiles=tuple(profiles),
        trained=trained
        | {
            "minutes": f"{state['elapsed'] / 60:.0f}",
            "steps": str(state["step"]),
            "recipe": json.dumps(state["recipe"]),
            "clips": ", ".join(f"first half of {clip.name}" for clip in clips),
            "machine": json.dumps(state["machine"]),
            "detector": json.dumps(state["detector"]),
            "torch": torch.__version__,
        },
    )
    out.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (out / file).write_bytes(content)
    (out / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def export_pixel(run: Path, out: Path) -> None:
    """Writes out/last.pt: a pixel run's average network in half precision, and nothing to go on
    with. It is a folder of a run to whoever takes one as an opponent, a teacher or a start.

    Raises ValueError for a run with a bottleneck, FileNotFoundError for none.
    """
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    if state["recipe"]["bottleneck"]:
        raise ValueError(f"{run} is no pixel detector's: it has a bottleneck")
    kept = ("machine", "detector", "recipe", "step", "elapsed")
    out.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"average": _half(state["average"])} | {name: state[name] for name in kept}, out / "last.pt"
    )


def encoder_onnx(encoder: Encoder) -> bytes:
    """The encoder as ONNX with free height and width (multiples of 16)."""
    camera = _Camera(encoder.eval())
    rows, columns = (
        torch.export.Dim("rows", min=1, max=256),
        torch.export.Dim("columns", min=1, max=256),
    )
    program = torch.onnx.export(
        camera,
        (torch.zeros(1, 320, 480, 3, dtype=torch.uint8),),
        dynamo=True,
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes={"x": {1: STRIDE * rows, 2: STRIDE * columns}},
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the encoder was not exported")
    content: bytes = onnxslim.slim(program.model_proto).SerializeToString()
    onnx.checker.check_model(content)
    return content


def spread(samples: Sequence[Sample], count: int = 100) -> list[Pixels]:
    """About `count` pictures from all over, at the larger side: what int8 takes its ranges from."""
    chosen = samples[:: max(1, len(samples) // count)]
    return [scaled(sample.pixels, max(SIDES)) for sample in chosen]


def latents(
    network: Network, data: CocoFolder, profiles: Sequence[Profile]
) -> Iterator[tuple[int, int, Ints]]:
    """(profile, quality, integers) of every picture at every band's quality: what is counted."""
    for i, sample in enumerate(track(data.samples, "counting intra tables")):
        y = _analysed(network, sample.pixels, SIDES[i % len(SIDES)])
        for number, integers in enumerate(profiles):
            for quality in QUALITIES:
                yield number, quality, integers(y, quality, None)


def sequences(
    network: Network, data: CocoFolder, clips: Sequence[Path], profiles: Sequence[Profile]
) -> Iterator[tuple[int, int, list[Ints]]]:
    """(profile, quality, integers of frames in order), chained as a camera's layers are."""
    rng = np.random.default_rng(0)
    scenes = [from_clip(clip, CLIP_FPS, share=0.5) for clip in clips]
    scenes += [from_picture(sample, 4, rng) for sample in data.samples[::4]]
    for i, frames in enumerate(track(scenes, "counting inter tables")):
        ys = [_analysed(network, pixels, SIDES[i % len(SIDES)]) for pixels in frames]
        for number, integers in enumerate(profiles):
            for quality in QUALITIES:
                chain: list[Ints] = []
                for y in ys:
                    chain.append(integers(y, quality, chain[-1] if chain else None))
                yield number, quality, chain


def _analysed(network: Network, pixels: Pixels, side: int) -> Tensor:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        y: Tensor = network.machine.encoder(to_input(scaled(pixels, side)))
    return y.float()


def _detector_tensors(network: Network) -> dict[str, Tensor]:
    tensors = {f"detector.{k}": v for k, v in network.detector.state_dict().items()}
    return _half(tensors | {"log_inverse": network.machine.gains.log_inverse.detach()})


def _recognition_files(recognition: Recognition) -> dict[str, bytes]:
    evidence = recognition.summariser.evidence
    weight, bias = (p.detach().float().numpy() for p in evidence.parameters())
    tensors = dict(recognition.recogniser.state_dict())
    tensors["log_inverse"] = recognition.gains.log_inverse.detach()
    return {
        "recognise.npz": _npz({"weight": weight[:, :, 0, 0], "bias": bias}),
        "recogniser.safetensors": save(_half(tensors)),
    }


def _half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    floats = (k for k, v in tensors.items() if v.dtype.is_floating_point)
    return tensors | {k: tensors[k].half().contiguous() for k in floats}


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
