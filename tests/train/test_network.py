"""A network's way to int8: what one number costs, by arithmetic on networks small enough to see through."""

import numpy as np
import onnxruntime
import pytest
import torch

from dowse.train.network import write_network

IDS = np.arange(12, dtype=np.int64)[None]


class Table(torch.nn.Module):
    """Tokens by a table, then through one layer; channel 0 is as many times larger as is said."""

    def __init__(self, larger: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.nn.Embedding.from_pretrained(torch.randn(12, 16, generator=generator))
        self.register_buffer("sizes", torch.tensor([larger, *[1.0] * 15]))
        self.layer = torch.nn.Linear(16, 8)
        self.layer.weight.data = torch.randn(8, 16, generator=generator)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.layer(self.tokens(input_ids) * self.sizes) * attention_mask[..., None]


def rows(path, ids=IDS):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]


def written(tmp_path, network, **settings):
    write_network(network, ("input_ids", "attention_mask"), "rows", tmp_path / "network.onnx", **settings)
    return tmp_path / "network.onnx"


def error(tmp_path, network, **settings):
    """The mean difference from torch, as a share of the mean size."""
    expected = network(torch.from_numpy(IDS), torch.ones(1, 12, dtype=torch.long)).detach().numpy()
    return np.abs(rows(written(tmp_path, network, **settings)) - expected).mean() / np.abs(expected).mean()


def test_a_layer_in_int8_is_off_by_its_rounding_and_in_float_by_nothing(tmp_path):
    network = Table(larger=1)
    assert error(tmp_path, network, int8=False) < 1e-6
    assert 1e-4 < error(tmp_path, network, int8=True) < 0.02


def test_examples_spare_the_channels_beside_one_that_reaches_far(tmp_path):
    network = Table(larger=40)
    network.layer.weight.data[:, 0] /= 40  # so that it weighs no more than the others in what comes out
    examples = [{"input_ids": IDS, "attention_mask": np.ones_like(IDS)}]
    even, uneven = (error(tmp_path, network, int8=True, examples=given) for given in (examples, ()))
    assert even < uneven / 3 and even < 0.02


def test_a_token_does_not_depend_on_those_beside_it(tmp_path):
    network = Table(larger=1)
    network.tokens.weight.data[11] *= 1000
    path = written(tmp_path, network, int8=True)
    assert rows(path)[0, :11] == pytest.approx(rows(path, IDS[:, :11])[0], abs=1e-6)


def test_a_token_of_zeros_stays_one(tmp_path):
    network = Table(larger=1)
    network.tokens.weight.data[3] = 0
    network.layer.bias.data[:] = 0
    assert (rows(written(tmp_path, network, int8=True))[0, 3] == 0).all()
