from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadPicture
from common.geometry import MAX_SIDE_PX, latent_size, pooled_size, working_size

lengths = st.integers(1, MAX_SIDE_PX)


@pytest.mark.parametrize(
    ("source", "side", "want"),
    [
        ((1920, 1080), 640, (640, 360)),
        ((1080, 1920), 640, (360, 640)),
        ((768, 576), 512, (512, 384)),
        ((320, 240), 640, (320, 240)),
        ((4096, 1), 32, (32, 1)),
        ((3, 2), 2, (2, 1)),  # 1.33 -> 1
        ((4, 3), 2, (2, 2)),  # 1.5 -> 2: half up
    ],
)
def test_working_size(source: tuple[int, int], side: int, want: tuple[int, int]) -> None:
    assert working_size(*source, side) == want


@given(lengths, lengths, lengths)
def test_working_size_never_enlarges_and_keeps_the_ratio(w: int, h: int, side: int) -> None:
    new_w, new_h = working_size(w, h, side)
    assert 1 <= new_w <= w
    assert 1 <= new_h <= h
    assert max(new_w, new_h) == min(side, max(w, h))
    assert working_size(h, w, side) == (new_h, new_w)
    assert working_size(new_w, new_h, side) == (new_w, new_h)


@given(lengths, lengths)
def test_latent_covers_the_picture(w: int, h: int) -> None:
    rows, columns = latent_size(w, h)
    assert 16 * (rows - 1) < h <= 16 * rows
    assert 16 * (columns - 1) < w <= 16 * columns


@pytest.mark.parametrize("bad", [(0, 5, 5), (5, 4097, 5), (5, 5, 0), (-1, 5, 5), (5, 5, 4097)])
def test_sizes_out_of_range(bad: tuple[int, int, int]) -> None:
    with pytest.raises(BadPicture):
        working_size(*bad)


@pytest.mark.parametrize("bad", [(0, 5), (5, 0), (4097, 1)])
def test_latents_out_of_range(bad: tuple[int, int]) -> None:
    with pytest.raises(BadPicture):
        latent_size(*bad)


@given(st.integers(1, 256), st.integers(1, 256), st.integers(1, 64))
def test_blocks_cover_the_latent(h: int, w: int, factor: int) -> None:
    rows, columns = pooled_size((h, w), factor)
    assert factor * (rows - 1) < h <= factor * rows
    assert factor * (columns - 1) < w <= factor * columns
