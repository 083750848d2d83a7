"""Proximal backpropagation against dense systems, unfolded convolutions and the published argmin."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn

from optimizers import make, pick

ALL = {"explicit": "none", "base": "torch.sgd", "base_options": {}}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mlp(*sizes, seed=0, bias=True, linear=False):
    torch.manual_seed(seed)
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b, bias=bias), nn.Identity() if linear else nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def directions(net, optimizer, loss):
    """(plain gradients, what the base was given) of one step with lr 1 and plain descent."""
    optimizer.zero_grad()
    loss().backward()
    plain = {name: one.grad.clone() for name, one in net.named_parameters()}
    before = {name: one.detach().clone() for name, one in net.named_parameters()}
    optimizer.step()
    return plain, {name: before[name] - one.detach() for name, one in net.named_parameters()}


def with_ones(A):
    return torch.cat([A, torch.ones(len(A), 1, dtype=A.dtype)], 1)


def dense(A, weight, bias, tau):
    """(A'A + I / tau)^-1 of a layer's gradient, as weight and bias."""
    A, g = with_ones(A), torch.cat([weight.flatten(1).T, bias[None]])
    d = torch.linalg.inv(A.T @ A + torch.eye(A.shape[1], dtype=A.dtype) / tau) @ g
    return d[:-1].T.reshape(weight.shape), d[-1]


@pytest.mark.parametrize("rows", [3, 40])
def test_each_layer_solves_its_dense_system_and_the_last_stays_plain(rows):
    net, x, y = mlp(5, 4, 6, 2), normal(rows, 5), normal(rows, 2, seed=1)
    optimizer = make("proxprop", net, tau=0.3, base_options={})
    plain, d = directions(net, optimizer, lambda: ((net(x) - y) ** 2).mean())
    for name, A in (("0", x), ("2", net[:2](x).detach())):
        # the weights have moved since: the second layer's inputs are those of before
        if name == "2":
            A = torch.tanh(x @ (net[0].weight + d["0.weight"]).T + net[0].bias + d["0.bias"]).detach()
        weight, bias = dense(A, plain[f"{name}.weight"], plain[f"{name}.bias"], 0.3)
        torch.testing.assert_close(d[f"{name}.weight"], weight, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(d[f"{name}.bias"], bias, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(d["4.weight"], plain["4.weight"])


@pytest.mark.parametrize("rows", [4, 30])
def test_the_direction_is_the_published_proximal_step(rows):
    net, x, y, tau = nn.Linear(6, 3).double(), normal(rows, 6), normal(rows, 3, seed=1), 0.2
    theta = torch.cat([net.weight.T, net.bias[None]]).detach()
    z = net(x)
    (dz,) = torch.autograd.grad(torch.sin(z - y).sum(), z)
    target = z.detach() - dz
    # argmin_x 1/2 ||A x - target||^2 + 1/(2 tau) ||x - theta||^2 as stacked least squares
    rows_ = torch.cat([with_ones(x), torch.eye(7, dtype=torch.float64) / tau**0.5])
    argmin = torch.linalg.lstsq(rows_, torch.cat([target, theta / tau**0.5])).solution
    optimizer = make("proxprop", net, tau=tau, **ALL)
    directions(net, optimizer, lambda: torch.sin(net(x) - y).sum())
    torch.testing.assert_close(torch.cat([net.weight.T, net.bias[None]]).detach(), argmin, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("mode", ["exact", "cg2"])
def test_small_tau_is_tau_times_the_gradient(mode):
    net, x, tau = mlp(4, 5, 2), normal(20, 4), 1e-9
    optimizer = make("proxprop", net, tau=tau, mode=mode, **ALL)
    optimizer.zero_grad()
    (net(x) ** 2).sum().backward()
    plain = [one.grad.clone() for one in net.parameters()]
    given = []
    optimizer.base.step = lambda: given.extend(one.grad.clone() for one in net.parameters())
    optimizer.step()
    for d, g in zip(given, plain, strict=True):
        torch.testing.assert_close(d / tau, g, rtol=1e-6, atol=1e-9)


def test_the_gradient_mode_is_the_base():
    nets = [mlp(4, 5, 2), mlp(4, 5, 2)]
    x = normal(20, 4)
    one = make("proxprop", nets[0], lr=0.1, mode="gradient")
    two = torch.optim.SGD(nets[1].parameters(), lr=0.1, momentum=0.95, nesterov=True)
    for _ in range(5):
        for net, optimizer in zip(nets, (one, two), strict=True):
            optimizer.zero_grad()
            (net(x) ** 2).mean().backward()
            optimizer.step()
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("scale", [1.0, 1e-8])
@pytest.mark.parametrize("rows", [4, 30])
def test_conjugate_gradients_end_at_the_exact_solution(rows, scale):
    found = []
    for mode in ("exact", "cg7", "cg2"):
        net, x = nn.Linear(6, 3).double(), normal(rows, 6)
        with torch.no_grad():
            net.weight.copy_(normal(3, 6, seed=3))
            net.bias.zero_()
        optimizer = make("proxprop", net, tau=0.5, mode=mode, tol=0.0, **ALL)
        optimizer.zero_grad()
        (scale * torch.sin(net(x))).sum().backward()
        before = optimizer.param_groups[0]["params"][0].detach().clone()
        optimizer.step()
        found.append((before - net.weight.detach()) / scale)
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-7)
    assert (found[2] - found[0]).norm() > 1e-3 * found[0].norm()


@pytest.mark.parametrize("mode", ["exact", "cg1", "cg3", "cg10"])
def test_directions_descend(mode):
    net, x, y = mlp(6, 8, 5, 3), normal(50, 6), normal(50, 3, seed=1)
    optimizer = make("proxprop", net, tau=10.0, mode=mode, **ALL)
    plain, d = directions(net, optimizer, lambda: ((net(x) - y) ** 2).mean())
    for name in plain:
        layer = name.split(".")[0]
        assert sum((plain[f"{layer}.{part}"] * d[f"{layer}.{part}"]).sum() for part in ("weight", "bias")) > 0


def test_conjugate_gradients_end_early_where_the_residual_is_small():
    found = {}
    for tol, mode in ((0.5, "cg9"), (0.0, "cg9"), (0.0, "cg1")):
        net, x = nn.Linear(9, 2, bias=False).double(), normal(60, 9)
        with torch.no_grad():
            net.weight.copy_(normal(2, 9, seed=3))
        optimizer = make("proxprop", net, tau=0.1, tol=tol, mode=mode, **ALL)
        _, d = directions(net, optimizer, lambda net=net, x=x: net(x).pow(2).mean())
        found[tol, mode] = d["weight"]
    assert torch.equal(found[0.5, "cg9"], found[0.0, "cg1"])
    assert not torch.equal(found[0.0, "cg9"], found[0.0, "cg1"])


CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "padded": {"kernel_size": (3, 2), "padding": (1, 0), "stride": 2},
    "dilated": {"kernel_size": 3, "dilation": (2, 1), "padding": 2},
    "same": {"kernel_size": (4, 3), "padding": "same"},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    "without bias": {"kernel_size": 3, "bias": False},
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_is_a_linear_layer_on_its_patches(kind):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, **CONVOLUTIONS[kind]).double()
    x, tau = normal(2, 2, 7, 6), 0.4
    optimizer = make("proxprop", conv, tau=tau, **ALL)
    plain, d = directions(conv, optimizer, lambda: torch.sin(conv(x)).sum())
    # the matrix of the linear map weight -> output, column by column, is the oracle for the patches
    one, columns = copy.deepcopy(conv), []
    for coordinate in range(conv.weight[0].numel()):
        with torch.no_grad():
            one.weight.zero_()
            one.weight[0].view(-1)[coordinate] = 1
            if one.bias is not None:
                one.bias.zero_()
            columns.append(one(x)[:, 0].flatten())
    A = torch.stack(columns, 1)
    if conv.bias is None:
        inverse = torch.linalg.inv(A.T @ A + torch.eye(A.shape[1], dtype=A.dtype) / tau)
        weight = (plain["weight"].flatten(1) @ inverse).view(conv.weight.shape)
    else:
        weight, bias = dense(A, plain["weight"], plain["bias"], tau)
        torch.testing.assert_close(d["bias"], bias, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(d["weight"], weight, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("mode", ["exact", "cg9"])
def test_a_grouped_convolution_is_one_convolution_a_group(mode):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 6, 2, groups=2).double(), normal(3, 4, 4, 4)
    parts = [nn.Conv2d(2, 3, 2).double() for _ in range(2)]
    for group, part in enumerate(parts):
        part.load_state_dict({name: one.chunk(2)[group] for name, one in conv.state_dict().items()})
    options = {**ALL, "tau": 0.3, "mode": mode, "tol": 0.0}
    _, d = directions(conv, make("proxprop", conv, **options), lambda: torch.sin(conv(x)).sum())
    for group, (part, own) in enumerate(zip(parts, x.chunk(2, 1), strict=True)):
        _, e = directions(
            part, make("proxprop", part, **options), lambda part=part, own=own: torch.sin(part(own)).sum()
        )
        for name in d:
            torch.testing.assert_close(d[name].chunk(2)[group], e[name], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("rows", [2, 20])
@pytest.mark.parametrize("way", ["twice in one pass", "two modules"])
def test_a_shared_layer_adds_up_its_inputs(way, rows):
    layer, x, tau = nn.Linear(4, 4).double(), normal(rows, 4), 0.7
    twin = nn.Linear(4, 4).double()
    twin.weight, twin.bias = layer.weight, layer.bias
    net = nn.ModuleList([layer, twin if way == "two modules" else layer])
    hidden = torch.tanh(layer(x)).detach()
    optimizer = make("proxprop", net, tau=tau, **ALL)
    plain, d = directions(net, optimizer, lambda: torch.sin(net[1](torch.tanh(net[0](x)))).sum())
    weight, bias = dense(torch.cat([x, hidden]), plain["0.weight"], plain["0.bias"], tau)
    torch.testing.assert_close(d["0.weight"], weight, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(d["0.bias"], bias, rtol=1e-8, atol=1e-12)


def test_gradients_and_inputs_of_several_backward_passes_add_up():
    net, x, tau = nn.Linear(3, 2).double(), normal(12, 3), 0.3
    optimizer = make("proxprop", net, tau=tau, **ALL)

    def both():
        torch.sin(net(x[:5])).sum().backward()
        return torch.sin(net(x[5:])).sum()

    plain, d = directions(net, optimizer, both)
    weight, _ = dense(x, plain["weight"], plain["bias"], tau)
    torch.testing.assert_close(d["weight"], weight, rtol=1e-8, atol=1e-12)


def test_only_passes_that_are_differentiated_in_training_count():
    net, x, tau = nn.Linear(3, 2).double(), normal(12, 3), 0.3
    optimizer = make("proxprop", net, tau=tau, **ALL)

    def loss():
        net(normal(50, 3, seed=5))  # no gradient flows back
        with torch.no_grad():
            net(normal(50, 3, seed=6))
        net.eval()
        loss = 0 * net(normal(50, 3, seed=7)).sum()
        net.train()
        return loss + torch.sin(net(x)).sum()

    plain, d = directions(net, optimizer, loss)
    weight, _ = dense(x, plain["weight"], plain["bias"], tau)
    torch.testing.assert_close(d["weight"], weight, rtol=1e-8, atol=1e-12)


def test_inputs_changed_in_place_later_do_not_matter():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()
    x, tau = normal(30, 3), 0.3
    hidden = net[:2](x).detach()
    plain, d = directions(net, make("proxprop", net, tau=tau, **ALL), lambda: torch.sin(net(x)).sum())
    for name, A in (("0", x), ("2", hidden)):
        weight, _ = dense(A, plain[f"{name}.weight"], plain[f"{name}.bias"], tau)
        torch.testing.assert_close(d[f"{name}.weight"], weight, rtol=1e-8, atol=1e-12)


def test_sequences_are_more_rows():
    net, x, tau = nn.Linear(3, 2).double(), normal(4, 5, 3), 0.3
    plain, d = directions(net, make("proxprop", net, tau=tau, **ALL), lambda: torch.sin(net(x)).sum())
    weight, _ = dense(x.reshape(-1, 3), plain["weight"], plain["bias"], tau)
    torch.testing.assert_close(d["weight"], weight, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("mode", ["exact", "cg5"])
def test_a_deep_linear_network_is_trained(mode):
    net, x = mlp(6, 6, 6, 3, linear=True, bias=False), normal(80, 6)
    y = x @ normal(6, 3, seed=1)
    optimizer = make("proxprop", net, lr=0.5, tau=10.0, mode=mode, base_options={})

    def closure():
        optimizer.zero_grad()
        loss = ((net(x) - y) ** 2).sum(1).mean()
        loss.backward()
        return loss

    losses = torch.stack([optimizer.step(closure).detach() for _ in range(120)])
    assert losses[-1] < 1e-10 * losses[0]


# ---- bases, groups, options


@pytest.mark.parametrize("base", ["torch.adam", "torch.adamw", "torch.rmsprop", torch.optim.Adam])
def test_the_base_moves_along_the_directions(base):
    nets, x = [mlp(4, 5, 2), mlp(4, 5, 2)], normal(20, 4)
    one = make("proxprop", nets[0], lr=0.01, tau=0.2, base=base)
    kind = pick(base) if isinstance(base, str) else base
    two = kind(nets[1].parameters(), lr=0.01)
    for _ in range(5):
        A = x
        for net, optimizer in zip(nets, (one, two), strict=True):
            optimizer.zero_grad()
            (net(x) ** 2).mean().backward()
        first = nets[1][0]
        first.weight.grad, first.bias.grad = dense(A, first.weight.grad, first.bias.grad, 0.2)
        one.step()
        two.step()
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_a_base_that_evaluates_twice_gets_directions_each_time():
    net, x, seen = nn.Linear(3, 2).double(), normal(12, 3), []
    optimizer = make("proxprop", net, lr=0.1, tau=0.3, explicit="none", base="torch.lbfgs")
    assert optimizer.requires_closure

    def closure():
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        seen.append((net.weight.grad.clone(), net.bias.grad.clone()))
        return loss

    inner = optimizer.base.step
    given = []

    def watched(closure):
        def look():
            loss = closure()
            given.append(net.weight.grad.clone())
            return loss

        return inner(look)

    optimizer.base.step = watched
    first = optimizer.step(closure)
    assert len(seen) == len(given) > 2
    for plain, d in zip(seen, given, strict=True):
        torch.testing.assert_close(d, dense(x, *plain, 0.3)[0], rtol=1e-8, atol=1e-12)
    assert optimizer.step(closure) < first


def test_a_look_ahead_gets_directions_where_it_looks():
    net, x, tau, lr, mu = nn.Linear(3, 2).double(), normal(12, 3), 0.3, 0.1, 0.9
    w, v = torch.cat([net.weight.T, net.bias[None]]).detach().clone(), torch.zeros(4, 2, dtype=torch.float64)
    A = with_ones(x)
    inverse = torch.linalg.inv(A.T @ A + torch.eye(4, dtype=A.dtype) / tau)
    optimizer = make("proxprop", net, lr=lr, tau=tau, explicit="none", base="nag", base_options={"mu": mu})

    def closure():
        optimizer.zero_grad()
        loss = torch.sin(net(x)).sum()
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)
        v = mu * v - lr * inverse @ A.T @ torch.cos(A @ (w + mu * v))
        w = w + v
    torch.testing.assert_close(torch.cat([net.weight.T, net.bias[None]]).detach(), w, rtol=1e-9, atol=1e-12)


def test_groups_have_their_own_lr_tau_and_decay():
    net, x = mlp(3, 4, 2), normal(12, 3)
    groups = [
        {"params": net[0].parameters(), "tau": 0.1, "lr": 0.5},
        {"params": net[2].parameters(), "weight_decay": 0.2},
    ]
    before = {name: one.detach().clone() for name, one in net.named_parameters()}
    hidden = net[:2](x).detach()
    optimizer = make("proxprop", groups, model=net, tau=0.4, maximize=True, **ALL)
    plain, d = directions(net, optimizer, lambda: torch.sin(net(x)).sum())
    g = [-plain["0.weight"], -plain["0.bias"]]
    torch.testing.assert_close(d["0.weight"], 0.5 * dense(x, *g, 0.1)[0], rtol=1e-8, atol=1e-12)
    g = [-plain[name] + 0.2 * before[name] for name in ("2.weight", "2.bias")]
    torch.testing.assert_close(d["2.weight"], dense(hidden, *g, 0.4)[0], rtol=1e-8, atol=1e-12)


def test_frozen_and_foreign_parameters_stay():
    net, x, tau = mlp(3, 4, 2), normal(12, 3), 0.3
    net[0].bias.requires_grad_(False)
    before = {name: one.detach().clone() for name, one in net.named_parameters()}
    optimizer = make("proxprop", [net[0].weight, net[0].bias], model=net, tau=tau, **ALL)
    torch.sin(net(x)).sum().backward()
    g = net[0].weight.grad.clone()
    optimizer.step()
    d = g @ torch.linalg.inv(x.T @ x + torch.eye(3, dtype=x.dtype) / tau)
    torch.testing.assert_close(before["0.weight"] - net[0].weight.detach(), d)
    for name in ("0.bias", "2.weight", "2.bias"):
        assert torch.equal(net.get_parameter(name), before[name])


def test_the_plain_gradient_is_there_after_a_step():
    net, x = mlp(3, 4, 2), normal(12, 3)
    optimizer = make("proxprop", net)
    (net(x) ** 2).mean().backward()
    plain = [one.grad for one in net.parameters()]
    optimizer.step()
    assert all(one.grad is g for one, g in zip(net.parameters(), plain, strict=True))


def test_rates_can_be_scheduled():
    net, x = mlp(3, 4, 2), normal(12, 3)
    optimizer = make("proxprop", net, lr=0.5, base_options={})
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.0 if k else 1.0)
    for k in range(2):
        before = net[0].weight.detach().clone()
        optimizer.zero_grad()
        (net(x) ** 2).mean().backward()
        optimizer.step()
        schedule.step()
        assert torch.equal(net[0].weight, before) == (k == 1)


def train(net, optimizer, steps, x):
    def closure():
        optimizer.zero_grad()
        loss = ((net(x) - 0.5) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return closure


@pytest.mark.parametrize("way", ["state_dict", "pickle", "deepcopy"])
@pytest.mark.parametrize("base", ["torch.sgd", "torch.adam"])
def test_runs_resume_bit_for_bit(base, way):
    x = normal(20, 3)
    net = mlp(3, 4, 2)
    optimizer = make("proxprop", net, lr=0.05, base=base)
    train(net, optimizer, 4, x)
    if way == "state_dict":
        twin = mlp(3, 4, 2, seed=9)
        twin.load_state_dict(net.state_dict())
        other = make("proxprop", twin, lr=0.7, base=base)
        checkpoint = optimizer.state_dict()
        train(net, optimizer, 4, x)  # does not change the checkpoint
        other.load_state_dict(checkpoint)
    else:
        other = copy.deepcopy(optimizer) if way == "deepcopy" else pickle.loads(pickle.dumps(optimizer))
        twin = other.model
        train(net, optimizer, 4, x)
    train(twin, other, 4, x)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    assert optimizer.counters() == other.counters()
    assert other.counters()["k"] == 8


def test_a_copied_model_is_free_and_close_frees_the_model():
    net, x = mlp(3, 4, 2), normal(12, 3)
    optimizer = make("proxprop", net)
    free = copy.deepcopy(net)
    (free(x) ** 2).mean().backward()
    assert all(not layer._seen.inputs and layer._seen.gram is None for layer in optimizer.layers)
    optimizer.close()
    assert all(not one._forward_hooks for one in net.modules())
    (net(x) ** 2).mean().backward()
    with pytest.raises(RuntimeError, match="hooks attached"):
        optimizer.step()
    optimizer.attach()
    optimizer.zero_grad()
    (net(x) ** 2).mean().backward()
    optimizer.step()
    assert optimizer.k == 1


@pytest.mark.parametrize("with_closure", [True, False])
@pytest.mark.parametrize("base", ["torch.sgd", "torch.adam"])
def test_a_gradient_that_is_not_finite_moves_nothing(base, with_closure):
    net, x = mlp(3, 4, 2), normal(12, 3)
    optimizer = make("proxprop", net, lr=0.01, base=base)
    closure = train(net, optimizer, 3, x)
    before = [one.detach().clone() for one in net.parameters()]
    bad = x.clone()
    bad[0, 0] = torch.inf
    if with_closure:
        train(net, optimizer, 1, bad * torch.nan)
    else:
        optimizer.zero_grad()
        (net(bad * torch.nan) ** 2).mean().backward()
        optimizer.step()
    assert all(torch.equal(one, old) for one, old in zip(net.parameters(), before, strict=True))
    assert optimizer.counters()["n_nonfinite"] == 1
    momentum = "momentum_buffer" if base == "torch.sgd" else "exp_avg"
    assert not optimizer.base.state[net[0].weight][momentum].any()
    optimizer.step(closure)
    assert not torch.equal(net[0].weight, before[0])
    assert all(torch.isfinite(one).all() for one in net.parameters())


def test_what_is_wrong_is_refused():
    net, x = mlp(3, 4, 2), normal(12, 3)
    with pytest.raises(TypeError, match="ProxProp needs the layers"):
        make("proxprop", net.parameters())
    with pytest.raises(ValueError, match="mode = 'cg0'"):
        make("proxprop", net, mode="cg0")
    with pytest.raises(ValueError, match="tau = 0"):
        make("proxprop", net, tau=0)
    with pytest.raises(ValueError, match="no Linear or Conv2d layer 'O'"):
        make("proxprop", net, explicit=["O"])
    with pytest.raises(TypeError, match="did you mean 'tau'"):
        make("proxprop", net, taux=1.0)
    with pytest.raises(TypeError, match="did you mean 'tau'"):
        pick("proxprop")(net, taux=1.0)
    with pytest.raises(TypeError, match="did you mean 'momentum'"):
        make("proxprop", net, base_options={"momentums": 0.9})
    with pytest.raises(ValueError, match="shared by all groups"):
        make("proxprop", [{"params": net.parameters(), "mode": "cg3"}], model=net)
    tied = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match="share a weight and not a bias"):
        make("proxprop", tied, explicit="none")
    optimizer = make("proxprop", net.eval())
    (net(x) ** 2).mean().backward()
    with pytest.raises(RuntimeError, match="layer '0' has a gradient, but its inputs were not seen"):
        optimizer.step()
    other = make("proxprop", net, base="torch.adam")
    with pytest.raises(ValueError, match=r"base = 'torch\.sgd'"):
        other.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="this is ProxProp"):
        other.load_state_dict(torch.optim.SGD(net.parameters()).state_dict())
