"""A folder in the shape of Stable Diffusion, tiny and random: it loads, learns and decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cloud.models.diffusion import diffusers
from cloud.models.latent_prior import LatentPrior
from cloud.pictures.human import HumanDecoder
from common.errors import ModelMismatch
from tests.cloud.pictures.test_human import coded, picture
from tests.human import tiny_human
from tests.weights import tiny_weights


def make_folder(folder: Path, prediction: str = "epsilon") -> Path:
    """unet, vae and scheduler as a pipeline saves them."""
    torch.manual_seed(0)
    library = diffusers()
    library.UNet2DConditionModel(
        block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
    ).save_pretrained(folder / "unet")  # fmt: skip
    library.AutoencoderKL(
        block_out_channels=(32, 32), latent_channels=4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).save_pretrained(folder / "vae")  # fmt: skip
    library.DDIMScheduler(prediction_type=prediction).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights(folder)
    tiny_human(folder, prior=False)
    return folder


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_it_makes_pictures_for_the_decoder(weights: Path, tmp_path: Path, prediction: str) -> None:
    folder = make_folder(tmp_path / "sd", prediction)
    decoder = HumanDecoder.load(weights / "human", "cpu", str(folder))
    base = coded(weights, picture(0))
    told: list[int] = []
    restored = decoder.restore(
        base, steps=2, fidelity=0.3, seed=1, on_step=lambda done, *_: told.append(done)
    )
    assert told == [0, 1, 2]
    assert restored.pixels.shape == (96, 128, 3)
    again = decoder.restore(base, steps=2, fidelity=0.3, seed=1)
    np.testing.assert_array_equal(restored.pixels, again.pixels)
    other = decoder.restore(base, steps=2, fidelity=0.3, seed=2)
    assert (restored.pixels != other.pixels).any()


def test_it_learns(tmp_path: Path) -> None:
    prior = LatentPrior.load(str(make_folder(tmp_path)))
    prior.vae.requires_grad_(False)
    optimizer = torch.optim.AdamW(prior.unet.parameters(), lr=2e-3)
    x = torch.from_numpy(picture(1)).permute(2, 0, 1)[None].float().repeat(4, 1, 1, 1) / 255
    losses = []
    for _ in range(25):
        loss = prior.loss(x[..., :64, :64])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_a_folder_that_is_none_is_named(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet").mkdir()
    with pytest.raises(ModelMismatch, match="not a diffusion prior"):
        HumanDecoder.load(weights / "human", "cpu", str(tmp_path))
