"""What becomes of the files of a batch once they are made: outputs get their names, inputs that
failed are set apart."""

from __future__ import annotations

import errno
import os

from ..errors import FileError
from ..faces.files import (
    KernelCopy,
    create,
    make_folders,
    publish,
    remove,
    same_bytes,
    sync_file,
    sync_folder,
)
from ..faces.system import open_regular, rename_batch
from .record import FAILED, REWRITTEN, SAME, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..faces.names import Names
    from .ledger import DiskSet
    from .record import Brief, Results
    from .run import Options, Path

FOLDERS_KNOWN = 4096  # to exist in the target: a hundred series a patient, and little memory
TAKEN = "its output name is taken by a file that is not the same"


class Outputs:
    """Names in the output folder, given in the order of the walk.

    final  the name of the only output, None: those of the results
    made   names given in this run, where those that stood before may be replaced; else None
    """

    def __init__(self, target: bytes, names: Names, options: Options, final: bytes | None) -> None:
        self._target = target
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
        touched: set[bytes] = set()
        for result in self._not_yet_named(results):
            if result.temporary is not None:
                self._name(result, result.temporary, touched)
        if self._options.durable:
            for folder in touched:
                sync_folder(folder)

    def _not_yet_named(self, results: Results) -> Iterator[Result]:
        """Those that have to be looked at one by one. A batch of nothing but brief results is named
        in one go: what fails then is a name that is taken, or the first one in a folder."""
        made = results.made
        briefs = [result for result in made if isinstance(result, tuple)]
        numbers: Iterable[int] = range(len(made))
        if len(briefs) == len(made) and self.made is None and not self._options.durable:
            numbers = rename_batch(os.path.join(self._target, b""), briefs)
        for number in numbers:
            result = made[number]
            if isinstance(result, tuple):
                result = self._full(result)
                made[number] = result
            yield result

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
            if not new and not same_bytes(temporary, path):
                result.exception = FileExistsError(errno.EEXIST, TAKEN)
                _fail(result, TAKEN)
            else:
                if self._final is None and (
                    not self._options.keep_names or self._options.report_paths
                ):
                    result.add("output", os.fsdecode(name))
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
