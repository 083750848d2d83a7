"""What an agent is paid: one file each.

A reward is a frozen dataclass with ``closed`` (whether an edge without room is closed), ``prices()``, its numbers, and
a plain function ``pay(b, flags, own, excess, closer, totals) -> float`` in the language of ``rules.py`` that finds
those numbers in ``totals[b, PRICES:]``.
"""
