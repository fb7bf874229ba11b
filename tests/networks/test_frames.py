from __future__ import annotations

import pytest
import torch

from longspan.networks.frames import FrameGrid, FrameNet, found_filters, of_real_frames


@pytest.mark.parametrize(
    ("size", "shape"), [((64, 64), (8, 8)), ((33, 20), (5, 3)), ((112, 112), (7, 7)), ((2, 2), (1, 1))]
)
def test_the_grid_is_as_large_as_it_says(size: tuple[int, int], shape: tuple[int, int]) -> None:
    grid = FrameGrid(3, size).eval()
    assert grid.shape == shape
    assert grid(torch.zeros(2, 3, *size)).shape == (2, shape[0] * shape[1], grid.output_size)


def test_a_cell_of_the_grid_sees_its_own_place() -> None:
    grid = FrameGrid(1, (64, 64)).eval()
    frame = torch.zeros(2, 1, 64, 64)
    frame[1, 0, :4, :4] = 5.0
    cells = grid(frame).detach()
    changed = (cells[0] - cells[1]).abs().amax(1).view(grid.shape)
    assert float(changed[0, 0]) > 0
    assert float(changed[4:, 4:].max()) == 0.0


def test_padded_frames_change_nothing() -> None:
    network = FrameNet(1, (16, 16), 8).train()
    clips = torch.randn(3, 4, 1, 16, 16)
    lengths = torch.tensor([4, 0, 2])
    spoiled = clips.clone()
    spoiled[1], spoiled[2, 2:] = torch.nan, torch.nan
    features = of_real_frames(network, spoiled, lengths)
    alone = network(torch.cat([clips[0], clips[2, :2]]))
    torch.testing.assert_close(torch.cat([features[0], features[2, :2]]), alone)
    assert bool((features[1] == 0).all())
    assert bool((features[2, 2:] == 0).all())
    assert of_real_frames(network, clips, None).shape == (3, 4, 8)


def test_filters_grow_until_the_grid_is_small() -> None:
    assert found_filters((224, 160)) == [16, 32, 64, 128, 128]
    with pytest.raises(ValueError, match="size: expected a whole number of at least 2, received 1"):
        found_filters((1, 5))
