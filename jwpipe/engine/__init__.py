"""From a list of steps to lazy arrays.

``preparing`` decides parameters and references, ``pipeline`` goes down the list; ``graph`` makes the tasks of a run of
pixel steps, ``chain`` is what one task does, ``state`` its variables. What needs more of an exposure than a block comes
from tasks of its own: ``borders`` (levels of the frame's edges), ``frames`` (looks at frames), ``reference_reads``
and ``interleaved`` (IRS2). ``hooks`` and ``user_steps`` are the users' own functions.
"""
