"""Cheapest trees on the grid by the Dreyfus-Wagner recursion, in integer arithmetic.

    label[S, u] = cost of the cheapest tree that joins the terminals S and node u
    label[S, u] = min( min over parts S = A + B of label[A, u] + label[B, u],
                       min over neighbours v of label[S, v] + cost[edge u-v] )

A two-pin net is the case of one terminal and a root: Dijkstra's algorithm. Costs are positive integers, so that a
tree can be read back from the labels by equality, and sums are exact.

Source: Dreyfus and Wagner, "The Steiner problem in graphs", Networks 1 (1971).
Differs: the second minimum is one Dijkstra run a subset, as in Erickson, Monma and Veinott (1987).
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from routing_env._kernel import kernel
from routing_env.grid import Ints

__all__ = ["FAR", "Longs", "arc_costs", "edge_costs", "grown_tree", "labels", "routes", "settle", "tree"]

Longs = NDArray[np.int64]

FAR = 2**60
"""label of what cannot be reached; twice this still fits 64 bits"""
DEAREST = 2**48
"""an edge costs at most this, so that a route over a few thousand edges stays below FAR"""


@kernel
def edge_costs(
    base: int, prices: Longs, demand: Longs, capacity: Longs, exists: NDArray[np.bool_], layer_edges: int
) -> Longs:
    """(edges,): base + price * demand for one net; FAR where the net may not or cannot pass.

    Costs are cut at DEAREST: a cheaper edge only lowers a bound, so bounds stay valid.
    """
    cost = np.empty(len(prices), np.int64)
    for edge in range(len(prices)):
        need = 0 if edge % 3 == 2 else demand[edge // layer_edges]
        if not exists[edge] or need > capacity[edge]:
            cost[edge] = FAR
        elif need > 0 and prices[edge] > (DEAREST - base) // need:
            cost[edge] = DEAREST
        else:
            cost[edge] = base + prices[edge] * need
    return cost


@kernel
def settle(neighbour: Ints, move_edge: Ints, cost: Longs, label: Longs, goal: int) -> None:
    """Dijkstra's algorithm from every node that has a label, in place; stops at ``goal``, -1 for no stop.

    After a stop the labels at or below the goal's are final: enough to read the way to the goal back.
    """
    heap = [(label[node], np.int64(node)) for node in range(len(label)) if label[node] < FAR]
    heapq.heapify(heap)
    while len(heap) > 0:
        at, node = heapq.heappop(heap)
        if at > label[node]:
            continue
        if node == goal:
            break
        for move in range(6):
            other = np.int64(neighbour[node, move])
            if other < 0 or cost[move_edge[node, move]] >= FAR:
                continue
            reached = at + cost[move_edge[node, move]]
            if reached < label[other]:
                label[other] = reached
                heapq.heappush(heap, (reached, other))


@kernel
def labels(neighbour: Ints, move_edge: Ints, cost: Longs, terminals: Longs, goal: int) -> Longs:
    """(2**terminals, nodes): ``label[S, u]``; bit i of S stands for ``terminals[i]``; row 0 is not used.

    With a ``goal`` (-1 for none) the last row is only good for the tree that ends there.
    """
    label = np.full((1 << len(terminals), len(neighbour)), FAR, np.int64)
    for i in range(len(terminals)):
        label[1 << i, terminals[i]] = 0
    for group in range(1, len(label)):
        row = label[group]
        part = (group - 1) & group
        while part > group ^ part:  # each split once
            other = group ^ part
            for node in range(len(row)):
                row[node] = min(row[node], label[part, node] + label[other, node])
            part = (part - 1) & group
        settle(neighbour, move_edge, cost, row, goal if group == len(label) - 1 else -1)
    return label


@kernel
def tree(neighbour: Ints, move_edge: Ints, cost: Longs, label: Longs, root: int) -> list[np.int64]:
    """The edges of a cheapest tree that joins all labelled terminals and ``root``."""
    edges = [np.int64(0) for _ in range(0)]
    stack = [(np.int64(len(label) - 1), np.int64(root))]
    while len(stack) > 0:
        group, node = stack.pop()
        if label[group, node] == 0:
            continue
        part, split = (group - 1) & group, False
        while part > group ^ part and not split:
            if label[part, node] + label[group ^ part, node] == label[group, node]:
                stack.append((part, node))
                stack.append((group ^ part, node))
                split = True
            part = (part - 1) & group
        move = 0
        while not split:
            other = np.int64(neighbour[node, move])
            edge = np.int64(move_edge[node, move])
            if other >= 0 and cost[edge] < FAR and label[group, other] + cost[edge] == label[group, node]:
                edges.append(edge)
                stack.append((group, other))
                split = True
            move += 1
    return edges


@kernel
def grown_tree(neighbour: Ints, move_edge: Ints, cost: Longs, terminals: Longs) -> list[np.int64]:
    """A tree grown from the first terminal, each time to the cheapest one left; empty where one is out of reach."""
    edges = [np.int64(0) for _ in range(0)]
    inside = np.zeros(len(neighbour), np.bool_)
    inside[terminals[0]] = True
    while True:
        label = np.where(inside, 0, FAR)
        settle(neighbour, move_edge, cost, label, -1)
        node, nearest = np.int64(-1), np.int64(FAR)
        for terminal in terminals:
            if not inside[terminal] and label[terminal] <= nearest:
                node, nearest = terminal, label[terminal]
        if node < 0 or nearest >= FAR:
            break
        while not inside[node]:
            inside[node] = True
            for move in range(6):
                other = np.int64(neighbour[node, move])
                edge = np.int64(move_edge[node, move])
                if other >= 0 and cost[edge] < FAR and label[other] + cost[edge] == label[node]:
                    edges.append(edge)
                    node = other
                    break
    for terminal in terminals:
        if not inside[terminal]:
            edges.clear()
    return edges


@kernel
def routes(
    neighbour: Ints, move_edge: Ints, base: int, prices: Longs, capacity: Longs, exists: NDArray[np.bool_],
    layer_edges: int, demand: Longs, terminals: Longs, first: Longs, most: int,
) -> tuple[Longs, list[np.int64], Longs]:  # fmt: skip
    """Cheapest routes of all nets under edge prices, each net by itself.

    Args:
        demand: (nets, layers).
        terminals: nodes of all nets, one after the other; net i has first[i]:first[i + 1].
        most: terminals of a net that the bound looks at; the rest only shape the route.

    Returns:
        (nets,) cost of the cheapest route over the net's first ``most`` terminals, FAR where there is none;
        the edges of the routes one after the other; (nets + 1,) where each route starts.
    """
    nets = len(demand)
    least = np.empty(nets, np.int64)
    begin = np.zeros(nets + 1, np.int64)
    edges = [np.int64(0) for _ in range(0)]
    for net in range(nets):
        ends = terminals[first[net] : first[net + 1]]
        cost = edge_costs(base, prices, demand[net], capacity, exists, layer_edges)
        some = min(len(ends), most)
        label = labels(neighbour, move_edge, cost, ends[1:some], ends[0])
        least[net] = label[-1, ends[0]]
        if least[net] < FAR:
            if some == len(ends):
                edges.extend(tree(neighbour, move_edge, cost, label, ends[0]))
            else:
                edges.extend(grown_tree(neighbour, move_edge, cost, ends))
        begin[net + 1] = len(edges)
    return least, edges, begin


@kernel
def arc_costs(neighbour: Ints, move_edge: Ints, cost: Longs, terminals: Longs, partial: bool) -> Longs:
    """(nodes, 6): cost of the cheapest tree that uses the move, directed away from ``terminals[0]``; FAR for none.

    Taking the move's edge out of a tree leaves one part with the terminals S and the node before the move, and one
    with the other terminals and the node after it: the minimum over all S is exact. ``partial`` says that more
    terminals exist: then the far part may hold none of those given.
    """
    label = labels(neighbour, move_edge, cost, terminals, -1)
    full = len(label) - 1
    through = np.full((len(neighbour), 6), FAR, np.int64)
    for node in range(len(neighbour)):
        for move in range(6):
            other = neighbour[node, move]
            if other < 0 or cost[move_edge[node, move]] >= FAR:
                continue
            best = label[full, node] if partial else np.int64(FAR)
            for group in range(1, full, 2):  # odd: those that hold terminal 0
                best = min(best, label[group, node] + label[full ^ group, other])
            through[node, move] = min(best + cost[move_edge[node, move]], FAR)
    return through
