"""Curvature besides the Hessian's products: Gauss-Newton products, its diagonal, and how well a quadratic model told.

J = dz/dw of outputs z(w), loss l(z):   G v = J' (d2l/dz2 (J v)),   positive semidefinite for convex l.
J v = d/du (J'u . v), so that three backward passes make one product.

Source: Schraudolph 2002 (products); Chapelle and Erhan 2011 (diagonals by random signs).
Differs: J v is taken by two backward passes, because a closure cannot be differentiated forwards.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optimizers._products import Differentiated
from optimizers._vector import blend, col

__all__ = ["GaussNewton", "factored", "hold_unused", "outputs_of", "reduction_ratio", "rounding", "shifted"]

TEMPLATE = """{name} with product='gauss_newton' needs the model's outputs beside the loss: {what}.

    def closure(backward=True):
        optimizer.zero_grad()
        outputs = model(x)
        loss = loss_function(outputs, target)      # a mean over the examples; a population: one loss a member
        if backward:
            loss.backward()
        return loss, outputs

A closure that returns the loss alone works with product='hessian'."""


def outputs_of(returned: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """(loss, outputs) from what a closure returned: a loss, or a loss and a tensor or several."""
    if not (isinstance(returned, tuple | list) and len(returned) == 2):
        return returned, ()
    loss, outputs = returned
    return loss, (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


class GaussNewton(Differentiated):
    """Loss and gradient at weights, kept so that Gauss-Newton products can follow; see ``Differentiated``.

    Weights that enter the loss past the outputs count in the gradient, not in the products.

    Args:
        optimizer: its ``outputs`` are those of the closure's last call.
        at: weights (*members, n).

    Raises:
        TypeError: besides those of ``Differentiated``: the closure returns no outputs, or the loss is not theirs.
    """

    def _differentiate(self, total: Tensor) -> None:
        outputs: tuple[Tensor, ...] = self.optimizer.outputs  # type: ignore[attr-defined]
        if not outputs:
            raise TypeError(self._complaint("the closure returned the loss alone"))
        if not all(isinstance(z, Tensor) and z.requires_grad for z in outputs):
            raise TypeError(self._complaint("the outputs are not attached to the loss's graph"))
        self.outputs = outputs
        with self.advice():
            slopes = torch.autograd.grad(total, outputs, create_graph=True, allow_unused=True)
        if any(u is None for u in slopes):
            raise TypeError(self._complaint("the loss was not made from the outputs that were returned"))
        self.slopes = slopes  # dl/dz
        self.raw = self.flat(self.grad([total]))
        self.u = [torch.zeros_like(z, requires_grad=True) for z in outputs]
        self.back = self.flat(self.grad(outputs, self.u, create_graph=True))  # J'u, linear in u: its derivative is J

    def _complaint(self, what: str) -> str:
        return TEMPLATE.format(name=type(self.optimizer).__name__, what=what)

    def raw_product(self, v: Tensor) -> Tensor:
        """Gv for a vector v (*members, n): (*members, n)."""
        curved = [(u, z) for u, z in zip(self.slopes, self.outputs, strict=True) if u.requires_grad]
        if not curved or not self.back.requires_grad:  # a loss linear in the outputs, outputs that no weight moves
            return torch.zeros_like(v)
        with self.advice():
            Jv = torch.autograd.grad(self.back, self.u, v, retain_graph=True, materialize_grads=True)
            along = [one for one, u in zip(Jv, self.slopes, strict=True) if u.requires_grad]
            HJv = torch.autograd.grad(
                [u for u, _ in curved], self.outputs, along, retain_graph=True, materialize_grads=True
            )
        return self.flat(self.grad(self.outputs, HJv))

    def products(self, V: Tensor, chunk: int = 256) -> Tensor:
        """G V for m vectors V (*members, m, n), one after the other: (*members, m, n)."""
        self.optimizer.memory["n_products"] += V.shape[-2]
        found = torch.stack([self.raw_product(v) for v in V.unbind(-2)], -2)
        return self.objective_product(found, V)

    def fisher_diagonal(self, signs: Tensor | None = None, chunk: int = 128) -> Tensor:
        """N sum_i (J_i' dl/dz_i)^2 over N examples: the mean squared gradient of one example's loss, (*members, n).

        Exact by one backward pass an example, ``chunk`` of them batched; with random ``signs`` (N,) of +-1 an unbiased
        estimate by one pass, N (sum_i sign_i J_i' dl/dz_i)^2. Examples lie along the first axis of the outputs after
        the members, and the loss is a mean over them. Not averaged over processes.
        """
        total = torch.zeros_like(self.at)
        rows = torch.eye(self.examples, device=self.at.device) if signs is None else signs.unsqueeze(0)
        for some in rows.split(chunk):
            along = [u.detach() * self._spread_over(u, some) for u in self.slopes]
            total += (self.batched(self.outputs, along) ** 2).sum(0)
        return self.examples * total

    @property
    def examples(self) -> int:
        """Examples in the batch."""
        return self.outputs[0].shape[self.at.ndim - 1]

    def _spread_over(self, u: Tensor, rows: Tensor) -> Tensor:
        """Factors of the examples, m rows of them (m, N), as factors of m tensors like u (*members, N, ...)."""
        before = (1,) * (self.at.ndim - 1)
        return rows.to(u.dtype).reshape(len(rows), *before, -1, *(1,) * (u.ndim - len(before) - 1))


def hold_unused(H: Tensor, g: Tensor) -> Tensor:
    """H with 1 on the diagonal where the loss does not depend on a weight: zero row, zero gradient.

    A linear solve then leaves that weight alone, instead of failing for all (a frozen layer, a dead unit).
    Shapes (*members, n, n) and (*members, n).
    """
    unused = (g == 0) & (H == 0).all(-1)
    return H + torch.diag_embed(unused.to(H.dtype))


def reduction_ratio(before: Tensor, after: Tensor, predicted: Tensor) -> Tensor:
    """(before - after) / predicted of each member (*members,): 1 where a quadratic model told the loss exactly.

    -inf where a loss is not finite or nothing was predicted. Both reductions are raised by ten roundings of the loss:
    near a minimum they are smaller than that, and their quotient would be noise.
    """
    slack = rounding(before)
    told = torch.isfinite(after) & torch.isfinite(predicted) & (predicted > 0)
    ratio = (before - after + slack) / torch.where(told, predicted + slack, 1.0)
    return torch.where(told, ratio, -torch.inf)


def rounding(loss: Tensor) -> Tensor:
    """Ten roundings of a loss, (*members,): smaller differences say nothing."""
    return 10 * torch.finfo(loss.dtype).eps * loss.abs()


def shifted(H: Tensor, g: Tensor, tau: Tensor, shift: float = 1e-3, tries: int = 12) -> tuple[Tensor, Tensor]:
    """((H + tau I)^-1 g with a matrix that is positive definite, max |row sum| of H).

    Where the Cholesky factorisation fails at the given tau (*members,), it is raised to -lambda_min + shift max|lambda|
    and then tenfold until it succeeds. NaN for a member whose H is not finite. Reads the device.
    """
    scale = H.abs().sum(-1).amax(-1)
    finite = torch.isfinite(scale)
    H, scale = blend(finite, H, 0.0), torch.where(finite, scale, 0.0)
    factor, ok = factored(H, tau)
    for i in range(tries):
        if bool((ok | ~finite).all()):
            break
        if i == 0:
            values = torch.linalg.eigvalsh(H)
            raised = torch.maximum(tau, shift * values.abs().amax(-1) - values[..., 0])
            raised = torch.where(scale > 0, raised, 1.0)  # no curvature at all: a gradient step
        else:
            raised = 10 * tau
        tau = torch.where(ok, tau, raised)
        factor, ok = factored(H, tau)
    p = torch.cholesky_solve(g.unsqueeze(-1), factor).squeeze(-1)
    return blend(ok & finite, p, torch.nan), scale


def factored(H: Tensor, tau: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(Cholesky factor of H + tau I, whether it is positive definite beyond rounding), (*members, n, n), (*members,).

    A pivot that is a rounding of its diagonal entry says that the matrix is singular, however the weights are scaled.
    """
    if tau is not None:
        H = H + torch.diag_embed(col(tau).expand(H.shape[:-1]))
    factor, info = torch.linalg.cholesky_ex(H)
    pivots, least = factor.diagonal(dim1=-2, dim2=-1) ** 2, H.shape[-1] * torch.finfo(H.dtype).eps
    return factor, (info == 0) & (pivots > least * H.diagonal(dim1=-2, dim2=-1)).all(-1)
