"""What an agent is paid: one file each.

A reward is a frozen dataclass with ``closed`` (whether an edge without room is closed), ``prices()``, its numbers, and
a plain function ``pay(b, flags, own, excess, closer, share, totals) -> float`` in the language of ``rules.py`` that
finds those numbers in ``totals[b, PRICES:]``. It is told what the move did (``flags``), whether it rode an edge of its
own net (``own``), the length units it adds beyond capacity (``excess``), whether it came one step ``closer`` to the
target (1 or -1; 0 where blocked), and the ``share`` of the room left on the edge that its wire takes (0 on own edges).
"""
