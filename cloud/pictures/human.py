"""The human decoder: machine layer, auxiliary layer, reference -> a picture for people.

    base ──integers * inverse gain──> y_hat ─┐
    auxiliary ──common/auxiliary.py──> decoded ─┼──Fusion──> preview ──Prior, n steps──> refined
    reference ──> still, y_ref ──────────────┘        └──> seen

The preview is the faithful view: a regression, in which nothing is drawn by chance. Every step of
the prior adds detail that is likely, and that nobody saw. Blocking; one call at a time.

    weights/human/
      manifest.json         hashes, the model id of auxiliary layers, the machine model below
      auxiliary.npz         tables of the auxiliary codec                    edge and cloud
      fusion.safetensors    fusion and the base's inverse gains, float16     cloud
      prior/                a diffusers folder, or none: then there are no steps   (prior_files.py)
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional as F

from cloud.models.blocks import channels_last
from cloud.models.fusion import Fusion, FusionConfig
from cloud.models.latent_prior import LatentPrior
from cloud.models.prior import Prior
from cloud.models.prior_files import own_prior
from cloud.pictures.tiles import Tiles
from cloud.pictures.values import FIDELITY, Reference
from common.auxiliary import AuxiliaryCodec
from common.bitstream import DETECT, Header
from common.codec import Coded
from common.coding.blocks import dequantise, synthesise
from common.coding.blocks import steps as quantiser_steps
from common.coding.coefficients import CoefficientModel
from common.errors import DecoderUnavailable, ModelMismatch
from common.geometry import latent_size, working_size
from common.manifest import Manifest

HUMAN = "human"
TABLES, FUSION = "auxiliary.npz", "fusion.safetensors"
MAX_SIDE_PX = 1280  # of what is decoded; a larger source is scaled up from it
MOST_STEPS = 8
_GREY = 0.5
_MULTIPLE = 32  # what the prior divides the picture by
_CELL = 8  # pixels on a side of a cell of `Restored.seen`

Pixels = NDArray[np.uint8]
OnStep = Callable[[int, int, Pixels], None]


@dataclass(frozen=True, slots=True)
class Restored:
    """A picture.

    pixels  H W 3 uint8, as large as the source (at most 4096 on a side)
    seen    H/8 W/8 float32, 0..1: the share of each cell that is the reference's; None without one
    notes   what a person should know about its making
    """

    pixels: Pixels
    seen: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Scene:
    """What the networks get: all of one size but y_hat, y_ref (a sixteenth); flags 1 3."""

    decoded: Tensor
    reference: Tensor
    y_hat: Tensor
    y_ref: Tensor
    flags: Tensor
    size: tuple[int, int]  # height, width without padding
    notes: list[str] = field(default_factory=list)


class HumanDecoder:
    """Made by `load`. model_id: of auxiliary layers; machine_id: of the machine layers below."""

    def __init__(
        self,
        manifest: Manifest,
        codec: AuxiliaryCodec,
        fusion: Fusion,
        log_inverse: Tensor,
        prior: Prior | LatentPrior | None,
        device: torch.device,
    ) -> None:
        self._manifest, self._codec, self._device = manifest, codec, device
        self._fusion = channels_last(fusion.eval().to(device))
        self._prior = None if prior is None else channels_last(prior.eval().to(device))
        self._log_inverse = log_inverse

    @classmethod
    def load(cls, folder: Path, device: str = "auto", prior: str | None = None) -> HumanDecoder:
        """From a folder such as weights/human.

        device  cpu, cuda, or auto
        prior   another diffusers folder, or the name of one on the hub, of no known hash; None:
                the folder's own

        Raises FileNotFoundError where there is none, ModelMismatch for files that do not fit.
        """
        if not (folder / "manifest.json").exists():
            raise FileNotFoundError(f"{folder}: there is no human decoder (no manifest.json)")
        manifest = Manifest.parse((folder / "manifest.json").read_bytes())
        try:
            with np.load(io.BytesIO(_read(folder, TABLES, manifest)), allow_pickle=False) as arrays:
                model = CoefficientModel.from_arrays(dict(arrays))
            tensors = {k: v.float() for k, v in load(_read(folder, FUSION, manifest)).items()}
            log_inverse = tensors.pop("log_inverse")
            fusion = Fusion(FusionConfig(**json.loads(manifest.trained["fusion"])))
            fusion.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelMismatch(f"{folder}: not the weights of a human decoder: {error}") from error
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        codec = AuxiliaryCodec(model, manifest.model_id, MAX_SIDE_PX)
        source = prior or own_prior(folder, manifest)
        refining = None if source is None else _prior(str(source), named=prior is not None)
        return cls(manifest, codec, fusion, log_inverse, refining, torch.device(chosen))

    @property
    def model_id(self) -> int:
        return self._manifest.model_id

    @property
    def machine_id(self) -> int:
        return self._manifest.codec["base"]

    @property
    def refines(self) -> bool:
        """Whether there is a prior: steps above 0."""
        return self._prior is not None

    @property
    def version(self) -> str:
        return self._manifest.name

    @torch.inference_mode()
    def restore(
        self,
        base: Coded,
        auxiliary: bytes | None = None,
        reference: Reference | None = None,
        *,
        steps: int = 0,
        fidelity: float = FIDELITY,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Restored:
        """A picture of a frame, as large as its source.

        steps     0: the preview; 1..8: of the prior
        fidelity  0..1: how little noise the prior begins with
        on_step   gets (steps done, steps in all, picture so far), from 0; what it raises ends this

        Raises ValueError for steps or fidelity outside these; DecoderUnavailable for steps where
        there is no prior; ModelMismatch for layers of another model; CorruptStream, WrongBase for
        an auxiliary layer that is damaged or another frame's.
        """
        if not 0 <= steps <= MOST_STEPS:
            raise ValueError(f"steps {steps} is outside 0..{MOST_STEPS}")
        if not 0.0 <= fidelity <= 1.0:
            raise ValueError(f"fidelity {fidelity} is outside 0..1")
        if steps and self._prior is None:
            raise DecoderUnavailable("these weights have no diffusion prior: ask for 0 steps")
        if base.header.model != self.machine_id:
            raise ModelMismatch(
                f"machine layer of model {base.header.model:04x}; "
                f"this decoder reads those of {self.machine_id:04x}"
            )
        tell = on_step or (lambda *_: None)
        scene = self._scene(base, auxiliary, reference)
        preview, seen = self._preview(scene)
        tell(0, steps, _pixels(preview, scene, base.header))
        refined = preview
        if steps and self._prior is not None:
            refined = self._prior.refine(
                preview,
                scene.flags,
                steps=steps,
                fidelity=fidelity,
                seed=seed,
                on_step=lambda done, x: tell(done, steps, _pixels(x, scene, base.header)),
                run=Tiles(scene.notes).run,
            )
        shares = None if reference is None else _shares(seen, scene)
        return Restored(_pixels(refined, scene, base.header), shares, tuple(scene.notes))

    def _scene(self, base: Coded, auxiliary: bytes | None, reference: Reference | None) -> _Scene:
        """Everything as tensors, padded at the right and below."""
        decoded, luma = None, 0.0
        width, height = working_size(base.header.width, base.header.height, MAX_SIDE_PX)
        if auxiliary is not None:
            header, q = self._codec.decode(auxiliary, base)
            width, height = header.working_size
            decoded = synthesise(dequantise(q, header.quality))
            luma = float(np.log2(quantiser_steps(header.quality)[0])) / 8
        rows, columns = (-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width))
        still = None
        if reference is not None:
            picture = Image.fromarray(reference.pixels).resize(
                (width, height), Image.Resampling.BICUBIC, reducing_gap=3.0
            )
            still = np.asarray(picture, np.float32)
        flags = torch.tensor([[luma, float(decoded is not None), float(still is not None)]])
        grid, whole = latent_size(width, height), (rows // 16, columns // 16)
        y_hat = self._latent(base, grid, whole)
        y_ref = torch.zeros_like(y_hat)
        if reference is not None:
            y_ref = self._latent(reference.base, grid, whole)
        return _Scene(
            self._picture(decoded, rows, columns),
            self._picture(still, rows, columns),
            y_hat,
            y_ref,
            flags.to(self._device),
            (height, width),
        )

    def _picture(self, pixels: NDArray[np.float32] | None, rows: int, columns: int) -> Tensor:
        """0..255 H W 3 -> 1 3 rows columns in 0..1; grey for None."""
        if pixels is None:
            return torch.full((1, 3, rows, columns), _GREY, device=self._device)
        h, w = min(pixels.shape[0], rows), min(pixels.shape[1], columns)
        padding = ((0, rows - h), (0, columns - w), (0, 0))
        padded = np.pad(pixels[:h, :w], padding, mode="edge").clip(0, 255) / 255
        x = torch.from_numpy(padded.astype(np.float32)).permute(2, 0, 1)[None]
        return x.to(self._device).contiguous(memory_format=torch.channels_last)

    def _latent(self, base: Coded, grid: tuple[int, int], whole: tuple[int, int]) -> Tensor:
        """y_hat of a machine layer on the picture's grid; zeros of one that has no latent."""
        if base.header.profile != DETECT:
            return torch.zeros(1, self._log_inverse.shape[-1], *whole, device=self._device)
        levels = self._log_inverse[0]
        at = base.header.quality / 255 * (len(levels) - 1)
        low = min(int(at), len(levels) - 2)
        inverse = torch.lerp(levels[low], levels[low + 1], at - low).exp()
        y_hat = torch.from_numpy(base.y.astype(np.float32)) * inverse[:, None, None]
        y_hat = y_hat[None].to(self._device)
        if y_hat.shape[2:] != grid:
            y_hat = F.interpolate(y_hat, grid, mode="bilinear", align_corners=False)
        return F.pad(y_hat, (0, whole[1] - grid[1], 0, whole[0] - grid[0]))

    def _preview(self, scene: _Scene) -> tuple[Tensor, Tensor]:
        def fuse(*parts: Tensor) -> Tensor:
            preview, seen = self._fusion(*parts, scene.flags)
            return torch.cat([preview.float(), F.interpolate(seen.float(), scale_factor=4.0)], 1)

        both = Tiles(scene.notes).run(
            fuse, scene.decoded, scene.reference, scene.y_hat, scene.y_ref
        )
        return both[:, :3].clamp(0, 1), both[:, 3:]


def _prior(source: str, *, named: bool) -> Prior | LatentPrior:
    """named: by an operator, perhaps of the hub."""
    try:
        whole = named and not (Path(source) / "unet").exists()
        if whole or (Path(source) / "model_index.json").exists():
            return LatentPrior.load(source)
        return Prior.load(Path(source))
    except (OSError, ValueError) as error:  # what diffusers raises for folders that are none
        raise ModelMismatch(f"{source}: not a diffusion prior: {error}") from error


def _read(folder: Path, name: str, manifest: Manifest) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ModelMismatch(f"{folder / name}: {error.strerror or error}") from error
    manifest.verify(name, data)
    return data


def _pixels(x: Tensor, scene: _Scene, header: Header) -> Pixels:
    """1 3 rows columns -> H W 3 uint8 at the source's size."""
    h, w = scene.size
    pixels = (x[0, :, :h, :w].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    if (h, w) == (header.height, header.width):
        return np.ascontiguousarray(pixels)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((header.width, header.height), Image.Resampling.BICUBIC))


def _shares(seen: Tensor, scene: _Scene) -> NDArray[np.float32]:
    h, w = scene.size
    cells = F.avg_pool2d(seen, _CELL)[0, 0, : -(-h // _CELL), : -(-w // _CELL)]
    shares: NDArray[np.float32] = cells.cpu().numpy()
    return shares
