"""Step 1 of 7, mine: what every process that Dowse starts for work of its own promises: to end with its parent.

Used by mine and by label. Imports nothing of Dowse, so that a process starts fast.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Leave when the process that started this one is gone, even if it was killed; for a pool's `initializer`."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
