"""Many files: a folder, or a list of files, into another folder or in place.

    walk ----> batches ----> workers (tasks) ----> in order again ----> published, reported

The parent walks, gives out batches, gives finished files their names and writes the report; workers
are processes, since the keyed values come from Python. What a file becomes depends on the file, the
profile, the key and its own path alone, so it is the same with any number of workers.
"""

from .run import Options, Summary, run
from .workers import StopFlag

__all__ = ["Options", "StopFlag", "Summary", "run"]
