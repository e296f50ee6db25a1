import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from components.shared.png import decode_png, encode_png


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)),
    st.sampled_from([1, 3]),
)
def test_pillow_reads_what_was_written(image: NDArray[np.uint8], channels: int) -> None:
    with Image.open(io.BytesIO(encode_png(image, channels))) as picture:
        assert picture.mode == {1: "L", 3: "RGB"}[channels]
        assert picture.size == image.shape[::-1]
        pixels = np.asarray(picture)
    repeated = image if channels == 1 else np.stack([image] * 3, axis=2)
    np.testing.assert_array_equal(pixels, repeated)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_plane_survives_the_way_there_and_back(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 48), np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(image, channels)), image)


def test_a_disc_of_smooth_texture_takes_no_more_room_than_pillow_needs() -> None:
    edge = np.arange(256) - 127.5
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, (256, 256)), 2)
    texture = np.clip(120 + 40 * noise / noise.std(), 0, 255)
    image = np.where(np.hypot(edge[:, None], edge[None, :]) < 90, texture, 0).astype(np.uint8)
    pillow = io.BytesIO()
    Image.fromarray(image).save(pillow, "PNG", compress_level=3)
    assert len(encode_png(image)) < 1.1 * len(pillow.getvalue())
