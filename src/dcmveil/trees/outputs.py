"""What becomes of the files of a batch once they are made: outputs get their names, inputs that
failed are set apart."""

from __future__ import annotations

import errno
import os
import time

from ..errors import FileError
from ..faces.files import (
    TEMPORARY,
    KernelCopy,
    create,
    make_folders,
    publish,
    remove,
    same_bytes,
    sync_file,
    sync_folder,
)
from ..faces.system import TemporaryPaths, open_regular, rename_batch
from .record import FAILED, REWRITTEN, SAME, Result, output_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..faces.names import Names
    from .ledger import DiskSet
    from .record import Brief, Results
    from .run import Options, Path
    from .workers import Ahead

FOLDERS_KNOWN = 4096  # to exist in the target: a hundred series a patient, and little memory
TAKEN = "its output name is taken by a file that is not the same"
# In the target: the temporary files of a run, in a folder for each process. If those had one
# together they would wait for each other, since the kernel takes one change to a folder at a time.
PLACES = TEMPORARY + b"tmp"
_ENDING = b".tmp"  # of TemporaryPaths
_TICK_NS = 2 * 10**9  # by which the clocks of a file system and of a program may differ


class Temporaries:
    """Paths for the temporary files of this process, one after the other. No other process has
    them, even where two runs could not be kept apart by a lock.

    paths  where they are, None: there is no place for them
    """

    def __init__(self, target: bytes) -> None:
        place = os.path.join(target, PLACES, os.urandom(8).hex().encode())
        self.paths: TemporaryPaths | None = None
        self._fault: OSError | None = None
        try:
            os.makedirs(place)
            self.paths = TemporaryPaths(place)
        except OSError as error:
            self._fault = error  # told where there is to be a file in it

    def next(self) -> bytes:
        """Raises OSError where there is no place for them."""
        if self.paths is None:
            assert self._fault is not None
            raise OSError(self._fault.errno, self._fault.strerror)
        return self.paths.next()

    def close(self) -> None:
        """No more of them are wanted."""
        if self.paths is not None:
            self.paths.close()


def remove_temporaries(target: bytes) -> None:
    """Those of all processes of a run, none of which is at work any more."""
    places = os.path.join(target, PLACES)
    if os.path.islink(places):
        return
    for folder, _, names in os.walk(places, topdown=False):
        for name in names:
            if name.endswith(_ENDING):
                remove(os.path.join(folder, name))
        try:
            os.rmdir(folder)
        except OSError:
            pass  # something is in it that is not ours


class EarlyNames:
    """Names for the outputs of a batch from the process that made them, as far as they are free. A
    worker knows nothing of the batches before its own; if one of those wants a name too, Outputs
    takes it back."""

    def __init__(self, target: bytes, temporaries: TemporaryPaths) -> None:
        self._target = os.path.join(target, b"")
        self._temporaries = temporaries
        self._folders: set[bytes] = set()  # that were looked at

    def give(self, results: Results) -> None:
        made: list[Any] = results.made
        numbers = [*range(len(made))]
        if not results.are_brief:
            made = [output_of(one) for one in made]
            numbers = [number for number in numbers if made[number][1] is not None]
            made = [made[number] for number in numbers]
        left = rename_batch(self._target, made, self._temporaries)
        if left and self._make_folders([made[i] for i in left]):
            again = rename_batch(self._target, [made[i] for i in left], self._temporaries)
            left = [left[i] for i in again]
        results.waiting = {numbers[i] for i in left}

    def _make_folders(self, waiting: list[Any]) -> bool:
        """Whether one may have been missing, and is no more."""
        folders = {os.path.dirname(one[2]) for one in waiting} - self._folders
        if len(self._folders) >= FOLDERS_KNOWN:
            self._folders.clear()
        try:
            for folder in folders:
                os.makedirs(self._target + folder, exist_ok=True)
                self._folders.add(folder)
        except OSError:
            return False  # met again by whoever names one by one, and told there
        return bool(folders)


class Outputs:
    """Names in the output folder, given in the order of the walk.

    final  the name of the only output, None: those of the results
    ahead  the results of batches that come later, some of which workers may have named
    made   names given in this run, where those that stood before may be replaced; else None
    """

    def __init__(
        self, target: bytes, names: Names, options: Options, final: bytes | None, ahead: Ahead
    ) -> None:
        self._target = target
        self._ahead = ahead
        self._start_ns = time.time_ns() - _TICK_NS
        self._names = names
        self._options = options
        self._final = final
        self._folders: set[bytes] = set()  # that are known to exist
        self.made: DiskSet | None = None
        if options.overwrite:
            from .ledger import DiskSet

            self.made = DiskSet()

    def name_all(self, results: Results) -> None:
        """Give each finished output its name. A result says what came of it."""
        made, waiting = results.made, results.waiting
        if waiting == set() and results.are_brief:
            return
        touched: set[bytes] = set()
        for number, result in enumerate(made):
            named = waiting is not None and number not in waiting
            if isinstance(result, tuple):
                if named:
                    continue
                result = made[number] = self._full(result)
            if result.temporary is None:
                continue
            if named:
                self._tell(result, result.output)
            else:
                self._name(result, result.temporary, touched)
            result.temporary = None  # it is not undone from here on
        if self._options.durable:
            for folder in touched:
                sync_folder(folder)

    def _full(self, brief: Brief) -> Result:
        relative, temporary, output, size, warnings = brief
        result = Result(relative, self._names.mac(relative), REWRITTEN)
        result.bytes_in = result.bytes_out = size
        result.warnings = warnings
        result.temporary, result.output = temporary, output
        return result

    def _name(self, result: Result, temporary: bytes, touched: set[bytes]) -> None:
        name = result.output if self._final is None else self._final
        path = os.path.join(self._target, name)
        folder = os.path.dirname(path)
        try:
            if folder not in self._folders:
                self._make_folder(folder, touched)
            replace = self.made is not None and self.made.add(name)
            new = publish(temporary, path, replace=replace)
            if not new and self._take_back(name, path, temporary):
                new = publish(temporary, path)
            if not new and not same_bytes(temporary, path):
                result.exception = FileExistsError(errno.EEXIST, TAKEN)
                _fail(result, TAKEN)
            else:
                self._tell(result, name)
                touched.add(folder)
                if new:
                    return
                result.outcome = SAME
                if self._options.durable:
                    sync_file(path)  # of a run that was killed before it could
        except OSError as error:
            result.exception = error
            _fail(result, error.strerror or "the output could not be named")
            result.fatal = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        remove(temporary)

    def _tell(self, result: Result, name: bytes) -> None:
        if self._final is None and (not self._options.keep_names or self._options.report_paths):
            result.add("output", os.fsdecode(name))

    def _take_back(self, name: bytes, path: bytes, temporary: bytes) -> bool:
        """Whether a worker had given the name to a file of a later batch, which has a temporary one
        again: the first in the order of the walk has it."""
        if os.lstat(path).st_ctime_ns < self._start_ns:
            return False  # it stood there before
        for results in self._ahead.results():
            if results.waiting is None:
                continue
            for number, one in enumerate(results.made):
                _, before, output = output_of(one)
                if output == name and before is not None and number not in results.waiting:
                    os.rename(path, before)
                    results.waiting.add(number)
                    return True
        return False

    def _make_folder(self, folder: bytes, touched: set[bytes]) -> None:
        if len(self._folders) >= FOLDERS_KNOWN:
            self._folders.clear()
        touched.update(make_folders(folder))
        self._folders.add(folder)
        if self._options.durable:  # a run that was killed may have made those above it
            while len(folder) > len(self._target):
                folder = os.path.dirname(folder)
                touched.add(folder)


def _fail(result: Result, reason: str) -> None:
    path = (result.more or {}).get("path")
    result.outcome = FAILED
    result.report = result.warnings = None
    result.counts, result.bytes_in, result.bytes_out = "", 0, 0
    result.more = {"error": {"reason": reason}}
    if path is not None:
        result.add("path", path)


class Quarantine:
    """Copies of the inputs that failed, as they are, under their own paths."""

    def __init__(self, folder: Path, source: bytes, names: Names) -> None:
        self._folder = os.fsencode(folder)
        self._source = source
        self._names = names
        self._kernel = KernelCopy()

    def take(self, result: Result) -> None:
        if os.path.isabs(result.relative) or b".." in result.relative.split(b"/"):
            return  # a list had it, and it lies outside the source
        path = os.path.join(self._folder, result.relative)
        temporary = os.path.join(
            self._folder, b".dcmveil-%s.tmp" % self._names.mac(result.relative).encode()
        )
        try:
            src = open_regular(os.path.join(self._source, result.relative))
        except (OSError, FileError):
            return  # what cannot be read cannot be copied; the report says why
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            dst = create(temporary, 0o600)
            try:
                self._kernel.copy_all(src, dst, lambda: None)
            finally:
                os.close(dst)
            publish(temporary, path)  # a file that stands there stays
        except OSError as error:
            result.add("quarantine", error.strerror or "not copied")
        finally:
            os.close(src)
            remove(temporary)
