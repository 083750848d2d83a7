"""A population whose moves and updates are recorded and replayed is the population that carries them out.

Without CUDA, tapes stand for graphs: see ``tapes``.
"""

import copy

import pytest
import torch
from populations import config as trainable
from populations import members, rows_of
from tapes import OnTape, Tape, lasting, taken_for_a_device, taped
from test_population import MANY, assert_member, config, population, problems

import agents.members as running
from agents.graphs import WARM_UP, Graphs, added_to, use_graphs
from agents.members import run_members
from agents.population import Population
from agents.stopping import Interrupted

FISHER = {"option": ("L=2", "mF=4")}
BFGS = {"option": ("capturable=True",)}
RETURNS = {"n_step": 3, "priority": 0.6, "dueling": True}
CASES = {
    "adam": {}, "adam, returns": RETURNS, "adam, targets by connections": {"target_connections": 2, "tau": 0.3},
    "olnaq": {}, "olmoq": RETURNS, "asnaq": FISHER, "momentum": {"updates": 2, "train_every": 2},
    "asnaq, returns": FISHER | RETURNS, "adaqn": FISHER, "bfgs": BFGS, "omosr1": {},
}  # fmt: skip
LONG = ("momentum", "asnaq, returns", "adaqn", "bfgs", "omosr1")
EACH = pytest.mark.parametrize("case", [pytest.param(one, marks=[pytest.mark.slow] * (one in LONG)) for one in CASES])
MOVES = 32
KINDS = {("move", False, False), ("update", "plain")}


def made(case, places=range(MANY), **changes):
    small = {"learning_starts": 4, "target_every": 4, "optimizer": case.partition(",")[0]}
    return population(places, **small | CASES[case] | changes)


def advanced(found, moves):
    """After some moves, with the code's branches for a device."""
    with taken_for_a_device(found):
        for _ in range(moves):
            found.advance()
            found.poll()
    return found


def assert_same(one, other):
    for place in range(len(one)):
        assert_member(one, place, other, place)
    mine, theirs = one.optimizer.state_dict()["state"]["global"], other.optimizer.state_dict()["state"]["global"]
    assert mine.keys() == theirs.keys()
    for name in mine:
        equal = torch.equal if isinstance(mine[name], torch.Tensor) else lambda a, b: a == b
        assert equal(mine[name], theirs[name]), name
    assert (one.moves, one.updates) == (other.moves, other.updates)


@EACH
def test_replays_are_what_they_replace(case):
    plain, replayed = advanced(made(case), MOVES), advanced(taped(made(case)), MOVES)
    assert_same(plain, replayed)
    kinds = {("update", "aggregate"), ("update", "refresh")} if "L=2" in plain.config.option else set()
    copied = {("move", plain.config.target_connections is not None, plain.config.target_connections is None)}
    assert set(replayed.graphs.made) == KINDS | kinds | copied


@EACH
def test_members_that_go_on_without_the_others_record_anew(case):
    plain, replayed = advanced(made(case), 14), advanced(taped(made(case)), 14)
    assert replayed.graphs.made
    for found in (plain, replayed):
        found.keep([4, 1, 2])
    assert not replayed.graphs.made
    assert_same(advanced(plain, 12), advanced(replayed, 12))
    assert replayed.graphs.made


@EACH
def test_a_checkpoint_is_the_same_with_and_without_graphs(case):
    plain, replayed = advanced(made(case), 14), advanced(taped(made(case)), 14)
    states = [copy.deepcopy(found.state_dict()) for found in (replayed, plain)]
    advanced(plain, 12)
    for other, state in zip((made(case), replayed), states, strict=True):
        other.load_state_dict(state)
        assert_same(plain, advanced(other, 12))
    assert replayed.graphs.made


@pytest.mark.parametrize("case", ["adam", "olmoq", "asnaq"])
def test_neighbours_do_not_matter_to_replays(case):
    whole = advanced(taped(made(case)), MOVES)
    order = (3, 0, 4, 2, 1)
    permuted = advanced(taped(made(case, order)), MOVES)
    for at, place in enumerate(order):
        assert_member(whole, place, permuted, at)


class Told:
    """Carries work out and notes the tape of each time, by kind."""

    def __init__(self):
        self.recorder, self.tapes = OnTape(), {}

    def run(self, kind, work):
        with Tape() as self.recorder.open:
            work()
        self.tapes.setdefault(kind, []).append(self.recorder.open)
        self.recorder.open = None

    def forget(self):
        self.tapes.clear()


def told(case):
    found = made(case)
    found.graphs = Told()
    return advanced(found, 20)


@EACH
def test_work_of_one_kind_is_the_same_operations_on_the_same_tensors_and_reads_nothing(case):
    found = told(case)
    held = lasting(vars(found) | {"graphs": None})
    assert set(found.graphs.tapes) >= KINDS
    for kind, (_, *tapes) in found.graphs.tapes.items():  # the first time makes what lasts
        stories = [tape.story() for tape in tapes]
        for story, before in stories:
            assert len(story) > 10
            assert story == stories[0][0], kind
            assert before <= held, f"{kind} takes what nobody holds"
        assert not {name for tape in tapes for name in tape.reads()}, kind


def test_what_counts_on_the_host_would_be_noticed(monkeypatch):
    monkeypatch.setattr("optimizers.quasi_newton._engine.QuasiNewton.tick", lambda self: None)
    _, second, third, *_ = told("olmoq").graphs.tapes["update", "plain"]
    assert second.story()[0] != third.story()[0]
    assert len(second.story()[0]) == len(third.story()[0])


def test_a_read_would_be_noticed():
    found = made("adam")
    found.graphs = Told()
    found.advance()  # the code for the host checks the moves
    assert found.graphs.tapes["move", True, False][0].reads() == {"index"}


class Log:
    """A recorder that notes what it is asked for."""

    def __init__(self):
        self.asked = []

    def aside(self, work):
        self.asked.append("aside")
        work()

    def record(self, work):
        self.asked.append("record")
        work()
        return lambda: self.asked.append("replay")

    def forget(self):
        self.asked.append("forget")


def test_work_warms_up_is_recorded_once_and_replayed():
    memory, log = {"k": 0, "F": torch.zeros(2)}, Log()
    graphs = Graphs(log, lambda: memory)

    def work():
        memory["k"] += 2
        memory["F"] += 1

    for _ in range(WARM_UP + 3):
        graphs.run("plain", work)
    assert log.asked == ["aside"] * WARM_UP + ["record"] + ["replay"] * 3
    assert memory["k"] == 2 * (WARM_UP + 3)
    graphs.run("other", work)
    assert log.asked[-1] == "aside"
    graphs.forget()
    graphs.run("plain", work)
    assert log.asked[-2:] == ["forget", "aside"]


@pytest.mark.parametrize("new", [{"k": 1, "F": torch.zeros(2)}, {"k": 1.5}, {"known": True}, {"late": torch.ones(1)}])
def test_memory_that_is_replaced_cannot_be_recorded(new):
    before = {"k": 1, "F": torch.zeros(2), "known": False}
    assert added_to(before, before | {"k": 4}) == {"k": 3}
    with pytest.raises(RuntimeError, match=r"of the memory was replaced by work that was recorded"):
        added_to(before, before | new)


def test_what_cannot_be_recorded_is_named():
    def work():
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs = Graphs(Log(), dict)
    graphs.seen["update", "plain"] = WARM_UP
    with pytest.raises(RuntimeError, match=r"'update', 'plain'.*not permitted when stream is capturing.*graphs off"):
        graphs.run(("update", "plain"), work)


@pytest.mark.parametrize(
    ("asked", "device", "changes", "used"),
    [
        ("auto", "cpu", {}, False), ("off", "cuda", {}, False), ("auto", "cuda", {}, True), ("on", "cuda:1", {}, True),
        ("auto", "cuda", {"optimizer": "newton"}, False), ("auto", "cuda", {"optimizer": "bfgs"}, False),
        ("on", "cuda", {"optimizer": "bfgs"} | BFGS, True), ("auto", "cuda", {"optimizer": "olmoq"}, True),
    ],
)  # fmt: skip
def test_graphs_are_used_where_they_can_be(asked, device, changes, used):
    assert use_graphs(asked, config(**changes), device) is used


@pytest.mark.parametrize(
    ("asked", "device", "optimizer", "why"),
    [
        ("yes", "cpu", "adam", "graphs 'yes' is none of auto, on, off"),
        ("on", "cpu", "adam", "graphs 'on': device 'cpu' has no CUDA graphs; take auto or off"),
        ("on", "cuda", "newton", "graphs 'on': optimizer 'newton' reads from the device; take auto or off"),
        ("on", "cuda", "lbfgs", "reads from the device without its option capturable=True; take auto or off"),
        ("on", "cuda", "slbfgs", "optimizer 'slbfgs' draws random numbers on the host"),
    ],
)
def test_graphs_that_cannot_be_are_refused_with_the_reason(asked, device, optimizer, why, tmp_path):
    with pytest.raises(ValueError, match=why):
        use_graphs(asked, config(optimizer=optimizer), device)
    if device == "cpu":
        with pytest.raises(ValueError, match=why):
            run_members(members(2), trainable(optimizer=optimizer), tmp_path, graphs=asked)


def test_a_population_on_the_cpu_refuses_graphs():
    with pytest.raises(ValueError, match="device 'cpu' has no CUDA graphs"):
        Population(problems(), config(), list(range(MANY)), graphs=True)


# ---- on a device


needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ON_CUDA = {
    "adam": {}, "adam, returns": {"n_step": 3, "dueling": True}, "adam, targets by connections": {
        "target_connections": 2, "tau": 0.3}, "olnaq": {}, "olmoq": {}, "asnaq": FISHER, "adaqn": FISHER, "bfgs": BFGS,
}  # fmt: skip
"""without priorities: a leaf of a tree that is written twice at once keeps either value"""


def on_cuda(case, graphs, moves, places=range(MANY)):
    chosen = config(learning_starts=4, target_every=4, optimizer=case.partition(",")[0], **ON_CUDA[case])
    netlists, seeds = [problems()[i] for i in places], [10 + i for i in places]
    return moved(Population(netlists, chosen, seeds, device="cuda", graphs=graphs), moves)


def moved(found, moves):
    for _ in range(moves):
        found.advance()
        found.poll()
    return found


class TestOnTheDevice:
    """The same bits with and without graphs."""

    pytestmark = needs_cuda

    @pytest.mark.parametrize("case", ON_CUDA)
    def test_graphs_change_no_bit(self, case):
        plain, replayed = on_cuda(case, False, 60), on_cuda(case, True, 60)
        assert_same(plain, replayed)
        assert set(replayed.graphs.made) >= KINDS

    @pytest.mark.parametrize("case", ["adam", "olmoq", "asnaq"])
    def test_neighbours_do_not_matter(self, case):
        whole, order = on_cuda(case, True, 60), (3, 0, 4, 2, 1)
        permuted = on_cuda(case, True, 60, order)
        for at, place in enumerate(order):
            assert_member(whole, place, permuted, at)

    @pytest.mark.parametrize("case", ["adam", "olmoq", "asnaq"])
    def test_members_go_on_without_the_others(self, case):
        plain, replayed = on_cuda(case, False, 33), on_cuda(case, True, 33)
        for found in (plain, replayed):
            found.keep([4, 1, 2])
        assert_same(moved(plain, 30), moved(replayed, 30))
        assert set(replayed.graphs.made) >= KINDS

    @pytest.mark.parametrize("case", ["adam", "olmoq", "asnaq"])
    def test_a_checkpoint_is_the_same(self, case):
        plain, replayed = on_cuda(case, False, 33), on_cuda(case, True, 33)
        states = [copy.deepcopy(found.state_dict()) for found in (replayed, plain)]
        moved(plain, 20)
        for other, state in zip((on_cuda(case, False, 0), replayed), states, strict=True):
            other.load_state_dict(state)
            assert_same(plain, moved(other, 20))

    @pytest.mark.parametrize("optimizer", ["adam", "asnaq"])
    def test_rows_are_the_same_also_of_runs_that_were_stopped(self, optimizer, tmp_path, monkeypatch):
        settings = {"device": "cuda", "checkpoint_seconds": 1e9, "tensorboard": False}
        for graphs in ("off", "on"):
            run_members(members(), trainable(optimizer=optimizer), tmp_path / graphs, graphs=graphs, **settings)
        looks = []

        def asked(self, seconds, stop, to_the_end=running._Run.to_the_end):
            return to_the_end(self, seconds, lambda: looks.append(None) or len(looks) == 12)

        monkeypatch.setattr(running._Run, "to_the_end", asked)
        with pytest.raises(Interrupted):
            run_members(members(), trainable(optimizer=optimizer), tmp_path / "in parts", graphs="on", **settings)
        run_members(members(), trainable(optimizer=optimizer), tmp_path / "in parts", graphs="on", **settings)
        assert rows_of(tmp_path / "off") == rows_of(tmp_path / "on") == rows_of(tmp_path / "in parts")
