"""The panel's own placing of voxels, in the browser that runs it, against numpy."""

import numpy as np
import pytest

PLACED = """async ([server, map, grid]) => {
  const { placedOn } = await import(`${server}/ohif/segtrust/nrrd.js`);
  return [...placedOn(map, grid, 1)];
}"""
SHAPE = (3, 4, 5)
STEPS = np.array([[0.8, 0.6, 0], [-1.2, 1.6, 0], [0, 0, 3]])  # of the map's axes: oblique, not isotropic
ORIGIN = np.array([5.0, -7.0, 11.0])
VALUES = np.arange(60, dtype=float).reshape(SHAPE)


def sent(shape, steps, origin, values=None):
    grid = {
        "dimensions": [*shape],
        "steps": np.asarray(steps).tolist(),
        "origin": np.asarray(origin).tolist(),
    }
    return grid if values is None else grid | {"values": values.ravel(order="F").tolist()}


@pytest.fixture
def place(viewer):
    viewer.page.goto(f"{viewer.url}/ohif/segtrust/nrrd.js")

    def place(shape, steps, origin):
        asked = [viewer.url, sent(SHAPE, STEPS, ORIGIN, VALUES), sent(shape, steps, origin)]
        return np.reshape(viewer.page.evaluate(PLACED, asked), shape, order="F")

    return place


def test_a_map_lands_on_the_same_points_whatever_the_order_of_the_slices(place):
    assert (place(SHAPE, STEPS, ORIGIN) == VALUES).all()
    last = ORIGIN + 4 * STEPS[2]
    assert (place(SHAPE, STEPS * [[1], [1], [-1]], last) == VALUES[..., ::-1]).all()


def test_a_map_lands_on_the_same_points_whatever_the_order_of_the_axes(place):
    turned = place((4, 3, 5), STEPS[[1, 0, 2]] * [[-1], [1], [1]], ORIGIN + 3 * STEPS[1])
    assert (turned == VALUES[:, ::-1].transpose(1, 0, 2)).all()


@pytest.mark.parametrize(
    ("shape", "origin"),
    [(SHAPE, ORIGIN + STEPS[2]), ((3, 4, 6), ORIGIN)],
    ids=["shifted by a slice", "a slice more"],
)
def test_a_map_of_another_grid_is_refused(place, shape, origin):
    with pytest.raises(Exception, match="does not lie on the grid of the series"):
        place(shape, STEPS, origin)
