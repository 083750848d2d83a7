"""What an agent sees: one file each.

An observation is a frozen dataclass with ``bounds(problem) -> (low, high)``, two float32 arrays, and a plain function
``write(b, row, room, connections, state, out)`` in the language of ``rules.py`` that fills ``out[row]``.
It may call plain functions of its own module or of another, which are compiled with it.
"""
