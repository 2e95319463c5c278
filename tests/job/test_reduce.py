"""Is the merged mask the same in whatever order tiles come, and does a lost or doubled tile show?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigrid.errors import Bug, DataError, ProtocolError
from perigrid.job.masks import NO_VOTE, pack, windows
from perigrid.job.reduce import VoteReducer, cohens_kappa

HEIGHT, WIDTH, TILE, STRIDE = 16, 24, 8, 4
CORNERS = windows(HEIGHT, WIDTH, TILE, STRIDE)
TILES = [np.random.default_rng(number).integers(0, 3, (TILE, TILE)).astype(np.uint8) for number in range(len(CORNERS))]


def reduced(order):
    reducer = VoteReducer(HEIGHT, WIDTH, TILE, CORNERS)
    for tile in order:
        reducer.add(tile, tuple(CORNERS[tile]), pack(TILES[tile]))
    return reducer


def slow_mask():
    """The vote counted pixel by pixel: an oracle without any of the reducer's arrays."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            votes = [0, 0, 0]
            for (top, left), tile in zip(CORNERS.tolist(), TILES, strict=True):
                if top <= row < top + TILE and left <= column < left + TILE:
                    votes[tile[row - top, column - left]] += 1
            mask[row, column] = votes.index(max(votes))
    return mask


def test_the_mask_is_the_majority_of_each_pixel():
    reducer = reduced(range(len(CORNERS)))
    assert np.array_equal(reducer.mask(), slow_mask())
    assert reducer.coverage_error() is None
    assert reducer.tiles_added == len(CORNERS)


@settings(max_examples=25)
@given(st.permutations(range(len(CORNERS))))
def test_order_does_not_matter(order):
    assert reduced(order).sha256() == reduced(range(len(CORNERS))).sha256()


@settings(max_examples=25)
@given(st.sets(st.integers(0, len(CORNERS) - 1), max_size=len(CORNERS) - 1))
def test_lost_tiles_are_counted_and_named(present):
    missing = sorted(set(range(len(CORNERS))) - present)
    message = reduced(sorted(present)).coverage_error()
    assert message is not None
    assert message.startswith(f"{len(missing)} of {len(CORNERS)} tiles are missing: {missing[0]}")


def test_a_pixel_that_no_tile_covers_has_no_class():
    mask = reduced([0]).mask()
    assert np.array_equal(mask[:TILE, :TILE], TILES[0])
    assert (mask[TILE:] == NO_VOTE).all()
    assert (mask[:, TILE:] == NO_VOTE).all()


def test_other_votes_or_another_size_give_another_digest():
    whole = reduced(range(len(CORNERS)))
    assert reduced(range(len(CORNERS) - 1)).sha256() != whole.sha256()
    flat, tall = (VoteReducer(*size, 4, np.zeros((1, 2), np.int32)) for size in ((4, 8), (8, 4)))
    assert flat.sha256() != tall.sha256()


def test_a_doubled_tile_is_refused_and_changes_nothing():
    reducer = reduced(range(3))
    before = reducer.sha256()
    with pytest.raises(Bug, match="tile 1 was added twice"):
        reducer.add(1, tuple(CORNERS[1]), pack(TILES[1]))
    assert reducer.sha256() == before
    assert reducer.tiles_added == 3


@pytest.mark.parametrize("tile", [-1, len(CORNERS)])
def test_an_unknown_tile_is_refused(tile):
    with pytest.raises(ProtocolError, match="unknown"):
        reduced([]).add(tile, (0, 0), pack(TILES[0]))


def test_a_tile_from_another_place_is_refused():
    with pytest.raises(ProtocolError, match="lies at"):
        reduced([]).add(1, tuple(CORNERS[2]), pack(TILES[1]))


def test_a_damaged_tile_is_refused_and_may_come_again():
    reducer = reduced([])
    with pytest.raises(ProtocolError):
        reducer.add(0, (0, 0), np.full(TILE * TILE // 4, 255, np.uint8))
    reducer.add(0, (0, 0), pack(TILES[0]))
    assert reducer.tiles_added == 1


@pytest.mark.parametrize(
    "corners", [np.zeros((0, 2), np.int32), np.zeros(2, np.int32), np.array([[0, 17]]), np.array([[-1, 0]])]
)
def test_windows_that_cannot_be_are_refused(corners):
    with pytest.raises(DataError):
        VoteReducer(HEIGHT, WIDTH, TILE, corners)


def test_kappa_of_a_textbook_table():
    # 20 and 15 agreements, 5 and 10 disagreements: observed .7, by chance .5, kappa .4.
    reference = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]).astype(np.uint8)
    mask = np.repeat([0, 1, 0, 1], [20, 5, 10, 15]).astype(np.uint8)
    assert cohens_kappa(mask.reshape(5, 10), reference.reshape(5, 10)) == pytest.approx(0.4)


def test_kappa_of_equal_masks_is_one_even_when_constant():
    assert cohens_kappa(slow_mask(), slow_mask()) == pytest.approx(1.0)
    assert cohens_kappa(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)) == 1.0


def test_kappa_of_masks_that_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="shapes"):
        cohens_kappa(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match="beyond"):
        cohens_kappa(np.full((4, 4), NO_VOTE, np.uint8), np.zeros((4, 4), np.uint8))


def test_a_vote_that_no_tile_cast_shows():
    # Only damaged memory can do this, since each tile is checked when it is added.
    reducer = reduced(range(len(CORNERS)))
    reducer._votes[2, 3, 5] += 1
    assert reducer.coverage_error() == "1 pixels have a wrong number of votes, the first at row 3, column 5"


@pytest.mark.parametrize(
    "corners",
    [[[0, 0], [0, 0]], [[16, 8]], [[0, 0], [8, 16], [8, 15], [3, 5]]],
    ids=["twice", "corner", "scattered"],
)
def test_coverage_holds_for_any_windows(corners):
    reducer = VoteReducer(24, 24, TILE, np.array(corners, np.int32))
    for tile, corner in enumerate(corners):
        assert reducer.coverage_error() is not None
        reducer.add(tile, tuple(corner), pack(TILES[tile]))
    assert reducer.coverage_error() is None
