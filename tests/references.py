"""Slow, plain twins of the quasi-Newton methods: one network, float64, written from the papers' formulas.

They import nothing of the package, because they judge it. `f(w, k)` and `g(w, k)` are loss and gradient at `w` on
mini-batch `k`, counted from 0; every method is `name(f, g, w0, steps, **options) -> [w after each step]`. The step
length `alpha` and the momentum `mu` are numbers or functions of k. Losses and gradients are taken to be finite: what to
do about others is a policy and not a formula.
"""

import numpy as np
from scipy.optimize import brentq, minimize

norm = np.linalg.norm


def at(schedule, k):
    """The value at step k of a number or a function of k."""
    return schedule(k) if callable(schedule) else schedule


# --- matrix updates: H is an inverse Hessian, B a Hessian -------------------------------------------------------------


def bfgs_update(H, s, y):
    rho, identity = 1 / (s @ y), np.eye(len(s))
    return (identity - rho * np.outer(s, y)) @ H @ (identity - rho * np.outer(y, s)) + rho * np.outer(s, s)


def dfp_update(H, s, y):
    h = H @ y
    return H + np.outer(s, s) / (s @ y) - np.outer(h, h) / (y @ h)


def broyden_family_update(H, s, y, phi_hat):
    """phi_hat = 1 is BFGS, 0 is DFP; for a phi of the Hessian form see `phi_hat_of`."""
    h = H @ y
    u = s / (s @ y) - h / (y @ h)
    return dfp_update(H, s, y) + phi_hat * (y @ h) * np.outer(u, u)


def phi_hat_of(phi, H, s, y):
    """The inverse form's parameter of the member whose Hessian is (1 - phi) BFGS + phi DFP."""
    ratio = (s @ np.linalg.solve(H, s)) * (y @ H @ y) / (s @ y) ** 2
    return (1 - phi) / (1 - phi + phi * ratio)


def hessian_bfgs_update(B, s, y):
    b = B @ s
    return B + np.outer(y, y) / (s @ y) - np.outer(b, b) / (s @ b)


def hessian_dfp_update(B, s, y):
    rho, identity = 1 / (s @ y), np.eye(len(s))
    return (identity - rho * np.outer(y, s)) @ B @ (identity - rho * np.outer(s, y)) + rho * np.outer(y, y)


def good_broyden_update(H, s, y):
    h = H @ y
    return H + np.outer(s - h, s @ H) / (s @ h)


def sr1_inverse_update(H, s, y):
    u = s - H @ y
    return H + np.outer(u, u) / (u @ y)


def sr1_update(B, s, y):
    u = y - B @ s
    return B + np.outer(u, u) / (u @ s)


def powell_damped(H, s, y):
    """The s that keeps s'y >= 0.2 y'Hy, the mirror image of Powell's damped y."""
    h = H @ y
    theta = 1.0 if s @ y >= 0.2 * (y @ h) else 0.8 * (y @ h) / (y @ h - s @ y)
    return theta * s + (1 - theta) * h


def two_loop(g, pairs, h0):
    """H g of L-BFGS, from pairs (s, y) oldest first; h0 is a number or the diagonal of the first matrix."""
    q, kept = g.copy(), []
    for s, y in reversed(pairs):
        a = (s @ q) / (s @ y)
        q = q - a * y
        kept.append(a)
    r = h0 * q
    for (s, y), a in zip(pairs, reversed(kept), strict=True):
        r = r + (a - (y @ r) / (s @ y)) * s
    return r


class Dense:
    """H: the identity, (s'y / y'y) I at the first pair, then one update a pair."""

    def __init__(self, update=bfgs_update, rescale=True):
        self.H, self.update, self.rescale = None, update, rescale

    def times(self, g):
        return g.copy() if self.H is None else self.H @ g

    def push(self, s, y):
        if self.H is None:
            self.H = np.eye(len(s)) * ((s @ y) / (y @ y) if self.rescale else 1.0)
        self.H = self.update(self.H, s, y)

    def clear(self):
        self.H = None


class Limited:
    """The last pairs; the first matrix is their mean s'y / y'y, or with `mean=False` the newest one's."""

    def __init__(self, memory, mean=True):
        self.pairs, self.memory, self.mean = [], memory, mean

    def times(self, g):
        ratios = [(s @ y) / (y @ y) for s, y in self.pairs] or [1.0]
        return two_loop(g, self.pairs, np.mean(ratios) if self.mean else ratios[-1])

    def push(self, s, y):
        self.pairs = [*self.pairs, (s, y)][-self.memory :]

    def clear(self):
        self.pairs = []


# --- online methods: no line search -----------------------------------------------------------------------------------


def direction(r, normalize):
    """-r, of length one where asked for; a zero stays a zero."""
    return -r / norm(r) if normalize and norm(r) > 0 else -r


def is_pair(s, y, delta):
    return bool(s @ y > delta * (s @ s))


def _same_batch(g, w0, steps, matrix, mu, alpha, lam, normalize, delta):
    """oNAQ: the gradient at w + mu v, and both gradients of a pair on the same mini-batch."""
    w, v, seen = w0.copy(), np.zeros_like(w0), []
    for k in range(steps):
        g1 = g(w + at(mu, k) * v, k)
        s = at(alpha, k) * direction(matrix.times(g1), normalize)
        v = at(mu, k) * v + s
        w = w + v
        y = g(w, k) - g1 + lam * s
        if is_pair(s, y, delta):
            matrix.push(s, y)
        seen.append(w)
    return seen


def _no_momentum(g, w0, steps, matrix, alpha, lam, normalize, delta):
    """oBFGS."""
    w, seen = w0.copy(), []
    for k in range(steps):
        g1 = g(w, k)
        s = at(alpha, k) * direction(matrix.times(g1), normalize)
        w = w + s
        y = g(w, k) - g1 + lam * s
        if is_pair(s, y, delta):
            matrix.push(s, y)
        seen.append(w)
    return seen


def _one_gradient(g, w0, steps, matrix, mu, alpha, lam, normalize, delta):
    """oMoQ: the gradient at w + mu v estimated from the last two; the pair of step k - 1 is closed at step k."""
    w, v, seen = w0.copy(), np.zeros_like(w0), []
    before = estimate = s = None
    for k in range(steps):
        gk = g(w, k)
        if k > 0:
            y = gk - estimate + lam * s
            if is_pair(s, y, delta):
                matrix.push(s, y)
        before = gk if before is None else before
        estimate = (1 + at(mu, k)) * gk - at(mu, k) * before
        s = at(alpha, k) * direction(matrix.times(estimate), normalize)
        v = at(mu, k) * v + s
        w, before = w + v, gk
        seen.append(w)
    return seen


def obfgs(f, g, w0, steps, *, alpha, lam=1.0, normalize=True, delta=1e-6):
    return _no_momentum(g, w0, steps, Dense(), alpha, lam, normalize, delta)


def olbfgs(f, g, w0, steps, *, alpha, memory=8, lam=1.0, normalize=True, delta=1e-6):
    return _no_momentum(g, w0, steps, Limited(memory), alpha, lam, normalize, delta)


def onaq(f, g, w0, steps, *, alpha, mu=0.85, lam=1.0, normalize=True, delta=1e-6):
    return _same_batch(g, w0, steps, Dense(), mu, alpha, lam, normalize, delta)


def olnaq(f, g, w0, steps, *, alpha, mu=0.85, memory=8, lam=1.0, normalize=True, delta=1e-6):
    return _same_batch(g, w0, steps, Limited(memory), mu, alpha, lam, normalize, delta)


def omoq(f, g, w0, steps, *, alpha, mu=0.85, lam=1.0, normalize=True, delta=1e-6):
    return _one_gradient(g, w0, steps, Dense(), mu, alpha, lam, normalize, delta)


def olmoq(f, g, w0, steps, *, alpha, mu=0.85, memory=8, lam=1.0, normalize=True, delta=1e-6):
    return _one_gradient(g, w0, steps, Limited(memory), mu, alpha, lam, normalize, delta)


def olmoq_mb(f, g, w0, steps, *, alpha, mu=0.85, memory=8, lam=0.0, normalize=True, delta=1e-6):
    """oLMoQ on overlapping batches: here `g(w, j)` is the gradient on sub-batch j, and batch k is (k, k + 1, k + 2).

    Step k closes the pair of step k - 1 on sub-batch k, the only one in batches k - 2, k - 1 and k. There is none at
    step 1, which compares the batch gradient with the estimate of step 0 instead.
    """
    w, v, matrix, seen = w0.copy(), np.zeros_like(w0), Limited(memory), []
    parts: list[dict] = []  # parts[k][j]: gradient at w_k on sub-batch j
    estimate = s = None
    for k in range(steps):
        parts.append({j: g(w, j) for j in (k, k + 1, k + 2)})
        whole = [np.mean(list(part.values()), axis=0) for part in parts[-2:]]  # batches k - 1 and k
        if k == 1:
            y = whole[-1] - estimate + lam * s
        if k > 1:
            m = at(mu, k - 1)
            y = parts[k][k] - ((1 + m) * parts[k - 1][k] - m * parts[k - 2][k]) + lam * s
        if k > 0 and is_pair(s, y, delta):
            matrix.push(s, y)
        estimate = (1 + at(mu, k)) * whole[-1] - at(mu, k) * whole[0]
        s = at(alpha, k) * direction(matrix.times(estimate), normalize)
        v = at(mu, k) * v + s
        w = w + v
        seen.append(w)
    return seen


# --- methods that aggregate every L steps: empirical Fisher matrices --------------------------------------------------


def grew(new, old, gamma):
    """Has the loss grown by more than gamma, or become non-finite? For positive losses: new > gamma old."""
    return not new <= old + (gamma - 1) * abs(old)


def fisher_product(F, s, scale_y):
    """The mean (or sum) of g g's over the gradients g in F."""
    y = sum((gradient * (gradient @ s) for gradient in F), np.zeros_like(s))
    return y / len(F) if scale_y == "mean" else y


def fisher_pair(s, y, eps, pair_test):
    return bool(s @ y > eps * (y @ y if pair_test == "yy" else norm(s) * norm(y)))


def adaqn(
    f, g, w0, steps, *, alpha, L=5, mL=10, mF=100, eps=1e-4, gamma=1.01,
    scale_y="mean", pair_test="yy", h0="fifo", anchor="accepted",
):  # fmt: skip
    """(iterates, counts of pairs accepted and rejected and of resets).

    `h0`: squares of the gradients in F ("fifo") or of all ("adagrad"). `anchor`: the point that the next average is
    compared with moves when a pair is accepted (the paper), or at every aggregation without reset ("always").
    """
    w, total, F, pairs, old, seen = w0.copy(), np.zeros_like(w0), [], [], None, []
    squares, events = np.zeros_like(w0), {"accepted": 0, "rejected": 0, "resets": 0}
    for k in range(steps):
        gk = g(w, k)
        F = [*F, gk][-mF:]
        squares = squares + gk**2
        diagonal = 1 / np.sqrt((sum(x**2 for x in F) if h0 == "fifo" else squares) + eps)
        total = total + w
        w = w - at(alpha, k) * two_loop(gk, pairs, diagonal)
        if (k + 1) % L == 0:
            new, total = total / L, np.zeros_like(w0)
            if old is None:
                old = new
            elif grew(f(new, k), f(old, k), gamma):
                w, F, pairs = old.copy(), [], []
                events["resets"] += 1
            else:
                s = new - old
                y = fisher_product(F, s, scale_y)
                accepted = fisher_pair(s, y, eps, pair_test)
                events["accepted" if accepted else "rejected"] += 1
                if accepted:
                    pairs = [*pairs, (s, y)][-mL:]
                if accepted or anchor == "always":
                    old = new
        seen.append(w)
    return seen, events


def asnaq(
    f, g, w0, steps, *, alpha, L=5, mL=8, mF=100, eps=1e-4, gamma=1.01, phi=1.1, mu0=0.1, mu_min=0.1, mu_max=0.95,
    scale_y="mean", normalize=True, pair_test="yy", h0="fifo", anchor="always",
):  # fmt: skip
    """(iterates, counts of pairs accepted and rejected and of resets); options as in `adaqn`.

    Step 0 has no gradient in F yet and takes the one at hand for its diagonal; after a reset the diagonal of an empty F
    is constant.
    """
    w, v, mu, F, pairs, old, seen = w0.copy(), np.zeros_like(w0), mu0, [], [], None, []
    total_w, total_v, squares = np.zeros_like(w0), np.zeros_like(w0), np.zeros_like(w0)
    events = {"accepted": 0, "rejected": 0, "resets": 0}
    for k in range(steps):
        g1 = g(w + mu * v, k)
        summed = sum((x**2 for x in F), np.zeros_like(w0)) if h0 == "fifo" else squares
        diagonal = 1 / np.sqrt((g1**2 if k == 0 else summed) + eps)
        v = mu * v + at(alpha, k) * direction(two_loop(g1, pairs, diagonal), normalize)
        w = w + v
        total_w, total_v = total_w + w, total_v + v
        g2 = g(w, k)
        F = [*F, g2][-mF:]
        squares = squares + g2**2
        if (k + 1) % L == 0:
            new, total_w, total_v = (total_w / L, total_v / L), np.zeros_like(w0), np.zeros_like(w0)
            if old is None:
                old = new
            elif grew(f(new[0], k), f(old[0], k), gamma):
                (w, v), F, pairs = old, [], []
                mu = max(min(mu / phi, mu_max), mu_min)
                events["resets"] += 1
            else:
                s = new[0] - old[0]
                y = fisher_product(F, s, scale_y)
                mu = min(mu * phi, mu_max)
                accepted = fisher_pair(s, y, eps, pair_test)
                events["accepted" if accepted else "rejected"] += 1
                if accepted:
                    pairs = [*pairs, (s, y)][-mL:]
                if accepted or anchor == "always":
                    old = new
        seen.append(w)
    return seen, events


# --- full batch: line searches ----------------------------------------------------------------------------------------


def armijo(f, x, p, slope, k, first=1.0, eta=1e-3, tau=0.5, halvings=10):
    """The largest first * tau^j with f(x + a p) <= f(x) + eta a slope, or None after the last halving."""
    start = f(x, k)
    for j in range(halvings + 1):
        a = first * tau**j
        if f(x + a * p, k) <= start + eta * a * slope:
            return a
    return None


def exact_on_quadratics(g, x, p, k):
    """The zero of the slope along p, which on a quadratic is linear in the step."""
    here, there = g(x, k) @ p, g(x + p, k) @ p
    return here / (here - there)


def first_length(g1, first):
    """The first trial step of a method that knows no scale yet."""
    return min(1.0, 1 / max(norm(g1, 1), 1e-300)) if first == "1-norm" else 1.0


def quasi_newton(f, g, w0, steps, *, matrix=None, search="armijo", first="1-norm", eps=1e-8):
    """Without momentum; `matrix` is Dense(update) or Limited(memory, mean), `search` "armijo", "exact" or a number."""
    w, matrix, failures, fresh, seen = w0.copy(), matrix or Dense(), 0, True, []
    for k in range(steps):
        g1 = g(w, k)
        p = -matrix.times(g1)
        if not p.any():
            a = None
        elif search == "exact":
            a = exact_on_quadratics(g, w, p, k)
        elif search == "armijo":
            a = armijo(f, w, p, g1 @ p, k, first_length(g1, first) if fresh else 1.0)
        else:
            a = at(search, k)
        failures = failures + 1 if a is None else 0
        if a is None:
            if failures == 2 or not p.any():
                matrix.clear()
                failures, fresh = 0, True
        else:
            w, fresh = w + a * p, False
            s, y = a * p, g(w, k) - g1
            if s @ y > eps * norm(s) * norm(y):
                matrix.push(s, y)
        seen.append(w)
    return seen


def _matrix(memory):
    return Dense() if memory is None else Limited(memory)


def naq(f, g, w0, steps, *, mu=0.85, memory=None, alpha=None, first="1-norm", eps=1e-8):
    """NAQ, with `memory` LNAQ; Armijo from the look-ahead point, or the steps `alpha`.

    A search that fails leaves w, zeroes v and stores no pair; the second in a row, or a direction of zero, clears the
    matrix.
    """
    w, v, matrix, failures, fresh, seen = w0.copy(), np.zeros_like(w0), _matrix(memory), 0, True, []
    for k in range(steps):
        ahead = w + at(mu, k) * v
        g1 = g(ahead, k)
        p = -matrix.times(g1)
        length = first_length(g1, first) if fresh else 1.0
        a = None if not p.any() else at(alpha, k) if alpha is not None else armijo(f, ahead, p, g1 @ p, k, length)
        failures = failures + 1 if a is None else 0
        if a is None:
            v = np.zeros_like(w0)
            if failures == 2 or not p.any():
                matrix.clear()
                failures, fresh = 0, True
        else:
            v, fresh = at(mu, k) * v + a * p, False
            w = w + v
            s, y = a * p, g(w, k) - g1
            if s @ y > eps * norm(s) * norm(y):
                matrix.push(s, y)
        seen.append(w)
    return seen


def moq(f, g, w0, steps, *, mu=0.85, memory=None, alpha=None, first="1-norm", eps=1e-8):
    """NAQ with its gradient estimated from the last two; the batch is the same at every step."""
    w, v, matrix, failures, fresh, seen = w0.copy(), np.zeros_like(w0), _matrix(memory), 0, True, []
    gk = before = g(w, 0)
    for k in range(steps):
        ahead = w + at(mu, k) * v
        estimate = (1 + at(mu, k)) * gk - at(mu, k) * before
        p = -matrix.times(estimate)
        length = first_length(estimate, first) if fresh else 1.0
        a = None if not p.any() else at(alpha, k) if alpha is not None else armijo(f, ahead, p, estimate @ p, k, length)
        failures = failures + 1 if a is None else 0
        before = gk
        if a is None:
            v = np.zeros_like(w0)
            if failures == 2 or not p.any():
                matrix.clear()
                failures, fresh = 0, True
        else:
            v, fresh = at(mu, k) * v + a * p, False
            w = w + v
            gk = g(w, k)
            s, y = a * p, gk - estimate
            if s @ y > eps * norm(s) * norm(y):
                matrix.push(s, y)
        seen.append(w)
    return seen


def modified_secant(p, difference, g1):
    """q of mNAQ: p'q >= omega ||g1|| ||p||^2, whatever the function."""
    omega = 2.0 if g1 @ g1 > 1e-2 else 100.0
    xi = omega * norm(g1) + max(-(difference @ p) / (p @ p), 0.0)
    return difference + xi * p


def mnaq(f, g, w0, steps, *, mu=0.85, eta=1e-3, first="1-norm", memory=None):
    """mNAQ; amNAQ is `mu=nesterov_schedule()`, mBFGS is `mu=0`.

    Backtracking until there is a pair, then the unit step where it is good enough, else the explicit one.
    """
    w, v, matrix, slope_bound, seen = w0.copy(), np.zeros_like(w0), _matrix(memory), None, []
    for k in range(steps):
        ahead = w + at(mu, k) * v
        g1 = g(ahead, k)
        p = -matrix.times(g1)
        if not p.any():
            a, slope_bound = None, None
            matrix.clear()
        elif slope_bound is None:
            a = armijo(f, ahead, p, g1 @ p, k, first_length(g1, first), eta)
        elif f(ahead + p, k) <= f(ahead, k) + eta * (g1 @ p):
            a = 1.0
        else:
            a = -(1e-7 if norm(p) > 1000 else 1e-4) * (g1 @ p) / (slope_bound * (p @ p))
        if a is None:
            v = np.zeros_like(w0)
        else:
            v = at(mu, k) * v + a * p
            w = w + v
            q = modified_secant(a * p, g(w, k) - g1, g1)
            slope_bound = 100 * norm(q) / norm(a * p)
            matrix.push(a * p, q)
        seen.append(w)
    return seen


def mbfgs(f, g, w0, steps, **options):
    return mnaq(f, g, w0, steps, mu=0.0, **options)


def amnaq(f, g, w0, steps, *, gamma=1e-5, mu_max=0.95, **options):
    return mnaq(f, g, w0, steps, mu=nesterov_schedule(gamma, mu_max), **options)


def next_theta(theta, gamma):
    """The root of x^2 = (1 - x) theta^2 + gamma x in (0, 1]."""
    return 0.5 * ((gamma - theta**2) + np.sqrt((gamma - theta**2) ** 2 + 4 * theta**2))


def nesterov_mu(theta, gamma, mu_max):
    return min(theta * (1 - theta) / (theta**2 + next_theta(theta, gamma)), mu_max)


def nesterov_schedule(gamma=1e-5, mu_max=0.95):
    """mu as a function of k: theta starts at 1."""

    def mu(k):
        theta = 1.0
        for _ in range(k):
            theta = next_theta(theta, gamma)
        return nesterov_mu(theta, gamma, mu_max)

    return mu


# --- trust regions and cubic regularisation ---------------------------------------------------------------------------


def trust_region_exact(B, g, delta):
    """(p, sigma): the minimiser of g'p + p'Bp/2 over ||p|| <= delta, by the eigenvalues of B and bisection.

    (B + sigma I) p = -g, and sigma > 0 only on the boundary. In the hard case, where the sign of the part along the
    smallest eigenvector is free, it is the positive one.
    """
    values, vectors = np.linalg.eigh(B)
    a, smallest = vectors.T @ g, values[0]
    if smallest > 0 and norm(a / values) <= delta:
        return -vectors @ (a / values), 0.0
    low = max(0.0, -smallest)
    bottom = values - smallest <= 1e-12 * max(abs(values).max(), 1e-300)
    lifted = np.where(bottom, smallest + low, values + low)  # eigenvalues of B + low I
    if smallest <= 0 and norm(a[bottom]) <= 1e-12 * norm(g):
        a = np.where(bottom, 0.0, a)
        p = np.where(bottom, 0.0, -a / np.where(bottom, 1.0, lifted))
        if norm(p) <= delta:
            p[0] = np.sqrt(delta**2 - p @ p)
            return vectors @ p, low

    def step(more):
        """The solution for sigma = low + more, in the eigenvectors' coordinates."""
        return np.where(a == 0, 0.0, -a / np.where(a == 0, 1.0, lifted + more))

    def excess(more):
        return -1 / delta if (lifted[a != 0] + more <= 0).any() else 1 / norm(step(more)) - 1 / delta

    more = brentq(excess, 0.0, norm(g) / delta, xtol=1e-300, rtol=1e-15, maxiter=5000)
    return vectors @ step(more), low + more


def cubic_value(s, B, g, sigma, U):
    return g @ s + s @ B @ s / 2 + sigma / 3 * (abs(U.T @ s) ** 3).sum()


def eigenbasis(B, g, tolerance=1e-9):
    """Eigenvectors of B; within one eigenvalue's space the first points along the gradient's part in it."""
    values, U = np.linalg.eigh(B)
    first = 0
    while first < len(values):
        last = first
        while last + 1 < len(values) and values[last + 1] - values[first] <= tolerance * abs(values).max():
            last += 1
        block = U[:, first : last + 1]
        along = block.T @ g
        if last > first and norm(along) > 0:
            rotation, _ = np.linalg.qr(np.column_stack([along, np.eye(len(along))]))
            U[:, first : last + 1] = block @ rotation
        first = last + 1
    return U


def cubic_exact(B, g, sigma, U=None):
    """(s, value): the minimiser of g's + s'Bs/2 + sigma/3 sum_i |U's|_i^3, found numerically.

    The coordinates U's do not interact: each is minimised from several starts, on both sides of zero.
    """
    U = eigenbasis(B, g) if U is None else U
    best = []
    for slope, curvature in zip(U.T @ g, (U.T @ B @ U).diagonal(), strict=True):
        reach = (abs(curvature) + np.sqrt(curvature**2 + 4 * sigma * abs(slope))) / sigma + 1e-3

        def along(x, slope=slope, curvature=curvature):
            value = slope * x + curvature * x**2 / 2 + sigma / 3 * abs(x) ** 3
            return value.item(), slope + curvature * x + sigma * abs(x) * x

        found = [minimize(along, [x], jac=True, tol=1e-13) for x in np.linspace(-reach, reach, 8)]
        best.append(min(found, key=lambda result: result.fun).x[0])
    s = U @ np.array(best)
    return s, cubic_value(s, B, g, sigma, U)


def sr1_or_skip(B, s, y, r):
    u = y - B @ s
    return sr1_update(B, s, y) if abs(u @ s) > r * norm(u) * norm(s) else B


def newest_curvature(s, y):
    return (y @ y) / (s @ y)


def _radius(radius, ratio, length, largest):
    """Larger after a good step that reached four fifths of the radius, half after a bad one."""
    if not ratio >= 0.1:
        return radius / 2
    return min(2 * radius, largest) if ratio > 0.75 and length > 0.8 * radius else radius


def sr1n(
    f, g, w0, steps, *, mu=None, gamma_theta=1e-5, mu_max=0.95, memory=None, momentum=False, scale=newest_curvature,
    radius=1.0, largest=1e3, eta=1e-6, r=1e-8, lam=0.0,
):  # fmt: skip
    """SR1-N in the exact trust region; `momentum` is MoSR1, `mu=0` SR1, `memory` the limited form.

    Without a number for mu it follows theta, which a rejected step starts again at 1 and with v at 0. A rejected step
    gives no pair. The first matrix is I, then gamma I with gamma of the first (limited: newest) pair.
    """
    w, v, theta, pairs, seen = w0.copy(), np.zeros_like(w0), 1.0, [], []
    B, before = np.eye(len(w0)), None
    for k in range(steps):
        m = nesterov_mu(theta, gamma_theta, mu_max) if mu is None else mu
        ahead, here = w + m * v, g(w, k) if momentum else None
        g1 = (1 + m) * here - m * (here if before is None else before) if momentum else g(ahead, k)
        s, _ = trust_region_exact(B, g1, radius)
        predicted = -(g1 @ s + s @ B @ s / 2)
        ratio = (f(ahead, k) - f(ahead + s, k)) / predicted if predicted > 0 else -np.inf
        radius, before = _radius(radius, ratio, norm(s), largest), here
        if ratio > eta:
            w, v, theta = ahead + s, m * v + s, next_theta(theta, gamma_theta)
            y = g(w, k) - g1 + lam * s
            u = y - B @ s
            if abs(s @ u) >= r * norm(s) * norm(u) > 0:
                if memory is not None or not pairs:
                    B = np.eye(len(w0)) * scale(s, y)
                pairs = [*pairs, (s, y)][-(memory or 1) :]
                for pair in pairs:
                    B = sr1_or_skip(B, *pair, r)
        else:
            v, theta = np.zeros_like(w0), 1.0
        seen.append(w)
    return seen
