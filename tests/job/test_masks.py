"""Do masks survive packing, are classes those of argmax, and do windows cover a capture?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perigrid.errors import DataError, ProtocolError
from perigrid.job import masks

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda s: (s[0], 4 * s[1]))
class_arrays = sizes.flatmap(lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))


@given(class_arrays)
def test_unpack_gives_back_what_was_packed(classes):
    packed = masks.pack(classes)
    assert packed.dtype == np.uint8
    assert packed.shape == (classes.size // 4,)
    assert np.array_equal(masks.unpack(packed, *classes.shape), classes)


def test_first_pixel_lies_in_the_lowest_bits():
    assert masks.pack(np.array([[1, 2, 0, 2]], np.uint8)).tolist() == [1 | 2 << 2 | 0 << 4 | 2 << 6]


@pytest.mark.parametrize(
    "classes",
    [
        np.array([[0, 1, 2, 3]], np.uint8),
        np.zeros((1, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((2, 4), np.int64),
        np.zeros(8, np.uint8),
    ],
    ids=["class 3", "three pixels", "empty", "dtype", "flat"],
)
def test_what_is_no_mask_is_not_packed(classes):
    with pytest.raises(DataError):
        masks.pack(classes)


@given(st.integers(0, 3), st.lists(st.integers(0, 2), min_size=16, max_size=16))
def test_the_fourth_value_is_refused_wherever_it_is(pixel, values):
    packed = masks.pack(np.array(values, np.uint8).reshape(4, 4))
    packed[2] |= 3 << (2 * pixel)
    with pytest.raises(ProtocolError, match="value 3"):
        masks.unpack(packed, 4, 4)


def test_a_packed_mask_of_another_length_is_refused():
    with pytest.raises(ProtocolError, match="4 x 8"):
        masks.unpack(np.zeros(7, np.uint8), 4, 8)


few_values = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1e30])


@given(hnp.arrays(np.float32, (3, 4, 5), elements=few_values))
def test_classes_are_those_of_argmax_with_ties_to_the_lower(scores):
    assert np.array_equal(masks.classify(scores), scores.argmax(axis=0))


def test_scores_of_other_than_three_classes_are_refused():
    with pytest.raises(DataError, match=r"\(2, 4, 4\)"):
        masks.classify(np.zeros((2, 4, 4), np.float32))


@pytest.mark.parametrize(("stride", "count"), [(4, 4225), (8, 1089), (16, 289), (32, 81), (64, 25)])
def test_known_numbers_of_windows_of_a_512_scene(stride, count):
    assert len(masks.windows(512, 512, 256, stride)) == count


@given(st.data())
def test_windows_lie_inside_cover_each_pixel_and_are_in_row_major_order(data):
    height, width = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    tile = data.draw(st.integers(1, min(height, width)))
    corners = masks.windows(height, width, tile, data.draw(st.integers(1, tile)))
    assert corners.dtype == np.int32
    covered = np.zeros((height, width), bool)
    for row, column in corners:
        assert 0 <= row <= height - tile
        assert 0 <= column <= width - tile
        covered[row : row + tile, column : column + tile] = True
    assert covered.all()
    pairs = [tuple(corner) for corner in corners.tolist()]
    assert pairs == sorted(set(pairs))


@pytest.mark.parametrize(
    ("height", "width", "tile", "stride"),
    [(255, 512, 256, 64), (512, 255, 256, 64), (512, 512, 256, 0), (512, 512, 256, 257), (512, 512, 0, 1)],
)
def test_windows_that_cannot_be_are_refused(height, width, tile, stride):
    with pytest.raises(DataError):
        masks.windows(height, width, tile, stride)


def test_the_longest_side_is_bounded():
    longest = masks.SCENE_PX_MAX
    assert len(masks.windows(8, longest, 8, 8)) == longest // 8
    with pytest.raises(DataError, match=str(longest)):
        masks.windows(8, longest + 1, 8, 8)


def test_labels_become_classes_and_an_unknown_one_is_named():
    labels = np.array([[0, 1], [4, 3]], np.uint8)
    table = {0: 2, 1: 0, 2: 0, 3: 0, 4: 1}
    assert masks.relabel(labels, table).tolist() == [[2, 0], [1, 0]]
    with pytest.raises(DataError, match=r"\[4\]"):
        masks.relabel(labels, {0: 2, 1: 0, 3: 0})
    with pytest.raises(DataError, match="class 3"):
        masks.relabel(labels, {0: 3})
