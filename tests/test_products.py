"""Products are differences of gradients, and rates are pictures over seconds."""

import pytest
import torch
from torch.nn import functional

from benchmarks.harness.experiment import Size
from benchmarks.tasks.products import NETWORKS, Products, operation


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_those_of_differences_of_gradients(name):
    torch.manual_seed(0)
    model = NETWORKS[name]().double()
    x, t = torch.randn(3, 1, 28, 28, dtype=torch.float64), torch.tensor([1, 7, 7])
    params = list(model.parameters())
    vectors = [torch.randn(2, *one.shape, dtype=torch.float64) for one in params]

    def gradient(k, step):
        """At the weights moved along a vector."""
        with torch.no_grad():
            for one, vector in zip(params, vectors, strict=True):
                one += step * vector[k]
        functional.cross_entropy(model(x), t).backward()
        found = [one.grad for one in params]
        with torch.no_grad():
            for one, vector in zip(params, vectors, strict=True):
                one.grad = None
                one -= step * vector[k]
        return found

    (found,) = operation("loss", model, x, t, vectors)
    assert found.item() == pytest.approx(functional.cross_entropy(model(x), t).item())
    torch.testing.assert_close(operation("gradient", model, x, t, vectors), gradient(0, 0.0))
    many = operation("Hessian-matrix", model, x, t, vectors)
    for k in range(2):
        both = zip(gradient(k, 1e-6), gradient(k, -1e-6), strict=True)
        differences = [(after - before) / 2e-6 for after, before in both]
        torch.testing.assert_close([one[k] for one in many], differences, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(operation("Hessian-vector", model, x, t, vectors), [one[0] for one in many])


def test_networks_have_the_weights_that_the_text_says():
    weights = {name: sum(one.numel() for one in make().parameters()) for name, make in NETWORKS.items()}
    assert weights == {"mlp": 109_386, "lenet": 61_706}
    assert all(f"{count:,} weights" in __import__(Products.__module__, fromlist=[""]).__doc__
               for count in weights.values())  # fmt: skip


def test_a_row_says_where_it_was_measured_and_leaves_torch_s_threads():
    before = torch.get_num_threads()
    (row,) = Products.run("gradient", [0], Size(0, 1, {"batches": [2, 3], "calls": 2}), {"network": "mlp", "m": 2})
    assert torch.get_num_threads() == before
    assert row["metrics"]["threads"] == 1
    assert row["metrics"]["cores"] >= 1
    assert row["metrics"]["device"]
    assert set(row["metrics"]["seconds"]) == {"2", "3"}
    assert all(one > 0 for one in row["metrics"]["seconds"].values())
    assert row["evaluations"] == {"gradients": 6}


def made(label, seconds):
    metrics = {"seconds": seconds, "device": "a processor", "cores": 2}
    return {"method": label, "metrics": metrics, "settings": {"task": {"network": "mlp", "m": 10}}}


def test_rates_and_costs_come_from_rows(tmp_path):
    rows = [made("loss", {"4": 1.0, "8": 1.0}), made("gradient", {"4": 2.0, "8": 4.0}),
            made("Hessian-vector", {"4": 4.0, "8": 8.0}), made("Hessian-matrix", {"4": 20.0, "8": 40.0})]  # fmt: skip
    assert Products.table(rows)[1] == {"method": "gradient", "batch 4": "2", "batch 8": "2"}
    small, large, where = Products.findings(rows)
    assert "With 4 pictures a batch a loss costs 0.5 gradients, a Hessian-vector product 2" in small
    assert "10 vectors at once 10: each of them 0.5 of a product alone" in large
    assert "a processor, 2 cores" in where
    assert Products.findings(rows[:2]) == []
    assert [path.name for path in Products.draw(rows, tmp_path)] == ["products-rates.png"]


def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match="no network 'mpl'; did you mean 'mlp'"):
        Products.chosen({"network": "mpl"})
    with pytest.raises(ValueError, match="m must be at least 1"):
        Products.chosen({"m": 0})
    with pytest.raises(ValueError, match="did you mean 'gradient'"):
        Products.check("gradients")
