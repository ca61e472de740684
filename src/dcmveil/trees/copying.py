"""What a worker does with a batch of files that are copied."""

from __future__ import annotations

import os

from ..errors import FileError
from ..faces import copy as sessions
from ..faces.files import TEMPORARY, KernelCopy, create, remove
from .outputs import EarlyNames, Temporaries
from .record import COPIED, output_of
from .tasks import DIRECTORY, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core import Trace
    from ..errors import NotDicomError
    from ..faces.names import Names
    from ..faces.system import OpenFiles
    from ..report import Report
    from ..session import Session, Watch
    from ..verify import Checker
    from .record import Brief, Counts, Result, Results
    from .run import Options
    from .tasks import Veils
    from .walk import Found
    from .workers import StopFlag


class CopyTask(Task):
    """Each file into a temporary file in the output folder, which gets its name when it is whole:
    from the parent, or from the worker where nothing speaks against it."""

    read_ahead = 1 << 20

    def __init__(
        self, root: bytes, veil: Veils, names: Names, options: Options,
        stop: StopFlag, each: bool, target: bytes, final: bytes | None, single: bool,
    ) -> None:  # fmt: skip
        super().__init__(root, veil, names, options, stop, each)
        self.target = target
        self._temporaries: Temporaries | None = None
        self._process = 0  # whose they are
        # of a single file: what its temporary path stands for, beside its name
        self._single: bytes | None = None
        if single:
            self._single = b"%s\0%s" % (final or b"", os.path.join(os.path.realpath(root), b""))
        self._one_by_one = single or options.overwrite or options.durable  # they get their names
        self._early_names: EarlyNames | None = None
        self.kernel = KernelCopy()
        self._checker: Checker | None = None
        to_do = options.verify or options.keep_times or options.keep_xattrs or options.durable
        # what an output wants once it is written, None: nothing
        self.finish = self._finish if to_do else None

    def __call__(self, batch: list[Found]) -> Results:
        if self._single is None and self._process != os.getpid():
            self._process = os.getpid()
            self._temporaries = Temporaries(self.target)
            if self._temporaries.paths is not None and not self._one_by_one:
                self._early_names = EarlyNames(self.target, self._temporaries.paths)
        results = super().__call__(batch)
        if self._early_names is not None:
            try:
                self._early_names.give(results)
            except BaseException:
                self.undo(results)
                raise
        return results

    def close(self) -> None:
        if self._temporaries is not None:
            self._temporaries.close()

    def pass_ordinary(
        self, files: OpenFiles, batch: list[Found], counts: Counts, made: list[Result | Brief]
    ) -> None:
        if self._temporaries is not None and self._temporaries.paths is not None:
            counts.ordinary.copy_batch(
                files, batch, self._temporaries.paths, self.names, self._bulk, self.finish, counts,
                self.stop, made,
            )  # fmt: skip

    def treat(self, relative: bytes) -> Result:
        try:
            temporary, report = self._into_temporary(relative, self._rewrite)
        except DirectoryMetError:
            return self.skipped(relative, DIRECTORY)
        try:
            result = self.rewritten(relative, report)
            assert result.report is not None
            result.temporary = temporary
            result.output = self.names.name(result.report, relative)
        except BaseException:
            remove(temporary)
            raise
        return result

    def undo(self, results: Results) -> None:
        for number, result in enumerate(results.made):
            _, temporary, output = output_of(result)
            if temporary is None:
                continue
            if results.waiting is not None and number not in results.waiting:
                temporary = os.path.join(self.target, output)
            remove(temporary)

    def not_dicom(self, relative: bytes, error: NotDicomError) -> Result:
        if not self.options.others:
            return super().not_dicom(relative, error)
        temporary, _ = self._into_temporary(relative, self._copy_as_it_is)
        result = self.result(relative, COPIED)
        result.temporary = temporary
        result.output = relative
        return result

    def _into_temporary(
        self, relative: bytes, work: Callable[[int, int], Report | None]
    ) -> tuple[bytes, Report | None]:
        """(path, report) of what `work` makes of the input in hand."""
        src = self.open(relative)
        temporary = self.temporary_of(relative)
        dst = create(temporary)
        try:
            report = work(src, dst)
        except BaseException:
            remove(temporary)
            raise
        finally:
            os.close(dst)
        return temporary, report

    def _copy_as_it_is(self, src: int, dst: int) -> None:
        os.lseek(src, 0, os.SEEK_SET)
        self.kernel.copy_all(src, dst, self.check)
        self._keep_status(src, dst)

    def _bulk(self, src: int, dst: int, n: int) -> int:
        self.check()
        return self.kernel.bulk(src, dst, n)

    def _rewrite(self, src: int, dst: int) -> Report | None:
        """None: `ordinary` has its report."""
        report = None
        if self.ordinary is None or not self.ordinary.copy(src, dst, self._bulk):
            os.ftruncate(dst, 0)
            os.lseek(dst, 0, os.SEEK_SET)
            os.lseek(src, 0, os.SEEK_SET)
            session = self.session()
            report = sessions.copy(session, src, dst, self.kernel, self._wanted(session))
        self._finish(src, dst)
        return report

    def _finish(self, src: int, dst: int) -> None:
        if self.options.verify:
            self._verify(src, dst)
        self._keep_status(src, dst)

    def _verify(self, src: int, dst: int) -> None:
        """Raises FileError if the copy is not what the input must become."""
        if self._checker is None:
            from ..verify import Checker

            self._checker = Checker(_Looked(self.veil, self.names_stay))
        with open(os.dup(src), "rb") as before, open(os.dup(dst), "rb") as after:
            verdict = self._checker.check(before, after, pixels=False)
        if not verdict.ok:
            first = f": {verdict.findings[0]}" if verdict.findings else ""
            raise FileError(f"the copy is not as it should be{first}")

    def temporary_of(self, relative: bytes) -> bytes:
        if self._temporaries is not None:
            return self._temporaries.next()
        # Single files from anywhere may be on their way to one folder at one time; and the same
        # command is to find and replace what a kill has left.
        assert self._single is not None
        name = b"%b%b.tmp" % (TEMPORARY, self.names.mac(self._single + relative).encode())
        return os.path.join(self.target, name)

    def _wanted(self, session: Session) -> Callable[[], None]:
        def check() -> None:
            self.check()
            if session.directory and not self.options.dicomdir:
                raise DirectoryMetError

        return check

    def _keep_status(self, src: int, dst: int) -> None:
        if self.options.keep_xattrs:
            for name in os.listxattr(src):
                if name.startswith("user."):  # others are for the system to give
                    os.setxattr(dst, name, os.getxattr(src, name))
        if self.options.keep_times:
            status = os.fstat(src)
            os.utime(dst, ns=(status.st_atime_ns, status.st_mtime_ns))
        if self.options.durable:
            os.fsync(dst)


class _Looked:
    """A veil whose sessions treat links as those of the run do."""

    def __init__(self, veil: Veils, names_stay: bool) -> None:
        self._veil = veil
        self._keep_file_ids = True if names_stay else None

    def session(self, trace: list[Trace] | None = None, watch: Watch | None = None) -> Session:
        return self._veil.session(trace=trace, watch=watch, keep_file_ids=self._keep_file_ids)

    def looker(self, trace: list[Trace] | None = None, watch: Watch | None = None) -> Session:
        return self._veil.looker(trace, watch)


class DirectoryMetError(Exception):
    """The file in hand is a DICOMDIR, and those are not wanted."""
