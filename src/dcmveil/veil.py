"""The public class: a profile plus a key, ready to use, one method a face."""

from __future__ import annotations

from .engine import Engine, Looker
from .errors import UsageError
from .profile import Profile, load
from .session import HOLD_LIMIT as HOLD_LIMIT
from .session import INFLATE_LIMIT as INFLATE_LIMIT
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from .core import Trace
    from .engine import Crosswalk
    from .faces.archive import ArchiveReport, OnMember
    from .faces.ordinary import Ordinary
    from .faces.stream import Readable, Reader, Writable
    from .inspect import Edit, Source
    from .pseudonyms import PseudonymTable
    from .report import Report
    from .session import Watch
    from .trees import Summary
    from .trees.record import Result
    from .verify import Verdict

    Path = str | os.PathLike[str]

Bytes = bytes  # inside the class, `bytes` is the method

NO_KEY = (
    "this profile maps UIDs and needs a key; `dcmveil key new FILE` makes one, and a random key "
    "for this run alone must be asked for"
)


class Veil:
    """De-identification with one profile and one key (PS3.15 Annex E), in the fixed layout:
    output length equals input length, and every element keeps its offset, tag, VR and length.

    profile            the name of one that ships, a TOML file's name, or a Profile
    options            of PS3.15 Table E.1-1, such as "retain-uids", for a profile given by name
    edition            of PS3.15, such as "2023b", for the profile basic given by name
    key                32 secret bytes; the same key gives the same new UIDs, today and next year
    uid_root           UID root for new UIDs, where the field has room for it
    pseudonyms         a table of your own, from `load_pseudonyms`; a Patient ID that is missing
                       there is an error for its file
    accept_cut_pixels  take files that end inside their pixel data, which are common, as they are
    keep_file_ids      keep the file names in a DICOMDIR, (0004,1500), for files that keep theirs;
                       they often hold names or numbers of patients
    ignore_mark        treat files as new that bear the mark of another key or profile
    hold_limit         bytes held back until the Patient ID is known, before a file is refused
    inflate_limit      bytes that a deflated data set may inflate to, before it is refused

    Raises UsageError for anything wrong with these. A Veil may be used for any number of inputs,
    by one thread at a time.
    """

    def __init__(
        self,
        profile: str | Profile = "basic",
        *,
        options: tuple[str, ...] | list[str] = (),
        edition: str | None = None,
        key: Bytes | None = None,
        uid_root: str = "2.25",
        pseudonyms: PseudonymTable | None = None,
        accept_cut_pixels: bool = False,
        keep_file_ids: bool = False,
        ignore_mark: bool = False,
        hold_limit: int = HOLD_LIMIT,
        inflate_limit: int = INFLATE_LIMIT,
    ) -> None:
        if key is None:
            raise UsageError(NO_KEY)
        for name, limit in (("hold_limit", hold_limit), ("inflate_limit", inflate_limit)):
            if limit < 1:
                raise UsageError(f"{name} must be at least one byte")
        self.profile = load(profile, options, edition) if isinstance(profile, str) else profile
        self._engine = Engine(self.profile, key, uid_root, pseudonyms)
        self.key = key
        self._uid_root = uid_root
        self._pseudonyms = pseudonyms
        self._accept_cut_pixels = accept_cut_pixels
        self._keep_file_ids = keep_file_ids
        self._ignore_mark = ignore_mark
        self._hold_limit = hold_limit
        self._inflate_limit = inflate_limit

    def session(
        self,
        trace: list[Trace] | None = None,
        watch: Watch | None = None,
        crosswalk: Crosswalk | None = None,
        packs: bool = False,
        *,
        keep_file_ids: bool | None = None,
    ) -> Session:
        """The state machine of one input, without I/O, for those who bring their own loop, or want
        to look on (see Session). keep_file_ids: for this input alone, None: as for all."""
        return Session(
            self._engine,
            accept_cut_pixels=self._accept_cut_pixels,
            keep_file_ids=self._keep_file_ids if keep_file_ids is None else keep_file_ids,
            ignore_mark=self._ignore_mark,
            hold_limit=self._hold_limit,
            inflate_limit=self._inflate_limit,
            trace=trace,
            watch=watch,
            packs=packs,
            crosswalk=crosswalk,
        )

    def ordinary(self) -> Ordinary:
        """What does the work of a session and a file face for most files (see Ordinary)."""
        from .faces.ordinary import Ordinary
        from .faces.patch import GAP

        return Ordinary(self._engine, gap=GAP, hold_limit=self._hold_limit)

    def looker(self, trace: list[Trace] | None = None, watch: Watch | None = None) -> Session:
        """A session for walking an output: it replaces no value by the key or a table, and asks
        for no run mark. Its own output is of no use."""
        return Session(
            Looker(self._engine),
            accept_cut_pixels=self._accept_cut_pixels,
            ignore_mark=True,
            hold_limit=self._hold_limit,
            trace=trace,
            watch=watch,
        )

    def bytes(self, data: Bytes | bytearray | memoryview) -> Bytes:
        """The rewritten bytes of a whole file or data set. Raises DicomError, and then nothing
        was returned."""
        session = self.session()
        with memoryview(data).cast("B") as view, session.room() as room:
            n = len(view)
            fits = n <= len(room)
            if fits:
                room[:n] = view
        if fits:
            return b"".join([bytes(piece) for piece in session.push(n, True)])
        import io

        from .faces.stream import stream

        out = io.BytesIO()
        stream(session, io.BytesIO(data), out)
        return out.getvalue()

    def stream(self, src: Readable, dst: Writable) -> Report:
        """Rewrite a readable into a writable, in bounded memory. Raises DicomError; the bytes
        written until then were rewritten, but the output is not whole and must be thrown away."""
        from .faces.stream import stream

        return stream(self.session(), src, dst)

    def reader(self, src: Readable) -> Reader:
        """A readable that rewrites `src` as it is read. Its reads raise DicomError."""
        from .faces.stream import Reader

        return Reader(self.session(), src)

    def copy(self, src: Path, dst: Path, **options: Any) -> Report:
        """Rewrite one file into another: bulk is copied by the kernel, and dst appears whole or not
        at all. Where dst is a folder the output is named by its new UIDs. `options` as for `tree`.

        Raises DicomError, UsageError, FileExistsError for a dst that is there (unless overwrite)
        and holds something else, and OSError.
        """
        from .trees.single import copy

        return copy(self, src, dst, options)

    def patch(self, path: Path, **options: Any) -> Report:
        """Rewrite one file in place, touching only what changes, once all of it was understood.
        `options` as for `tree`.

        Raises DicomError, UsageError, FileError (a symbolic link, a second hard link, a deflated
        data set), JournalError, and OSError; then the file is as it was.
        """
        from .trees.single import patch

        return patch(self, path, options)

    def tree(
        self,
        src: Path,
        dst: Path | None = None,
        *,
        on_file: Callable[[dict[str, Any]], None] | None = None,
        **options: Any,
    ) -> Summary:
        """Rewrite all DICOM files of a folder into another one, or in place where dst is None.

        on_file  called with the record of each file (docs/trees.md), in the order of the report
        options  those of `trees.Options`: jobs, names, keep_names, overwrite, report, resume, ...

        A file that fails is listed, and stops no other. Raises UsageError, JournalError, and
        OSError where the folders themselves cannot be used.
        """
        from .trees import Options, run

        def call(result: Result) -> None:
            assert on_file is not None
            on_file(result.record)

        return run(self, src, dst, Options(**options), on_file=None if on_file is None else call)

    @property
    def identity(self) -> str:
        """A digest, under the key, of all that an output depends on beside its input: a report is
        resumed by the same veil alone."""
        from .keys import keyed_hash

        digest = keyed_hash(self.key, "run", 16)
        digest.update(self.profile.digest)
        settings = (
            self._uid_root, self._accept_cut_pixels, self._keep_file_ids, self._ignore_mark,
            self._hold_limit, self._inflate_limit,
        )  # fmt: skip
        digest.update(repr(settings).encode())
        if self._pseudonyms is not None:
            digest.update(self._pseudonyms.content)
        return digest.hexdigest()

    def tar(
        self,
        src: Readable,
        dst: Writable,
        *,
        names: str | None = None,
        keep_names: bool = False,
        to: str | None = None,
        compress: str | None = None,
        others: bool = False,
        dicomdir: bool = False,
        on_member: OnMember | None = None,
    ) -> ArchiveReport:
        """Rewrite a tar (plain, gzip or zstd) or a zip, member by member, in bounded memory; a zip
        must be seekable.

        names       a template for the names of members (see docs/archives.md); by default they
                    are made of the new UIDs
        keep_names  members keep their names
        to          "tar" or "zip", by default as the input
        compress    "none", "gzip" or "zstd", by default as the input
        others      copy members that are no DICOM as they are; needs keep_names
        dicomdir    rewrite a DICOMDIR, which is skipped otherwise
        on_member   called for each member with a record ready for JSON, and with its old name

        A member that is refused is left out and counted in the report. Raises ArchiveError where
        the archive is cut off or damaged (then what was written is not whole), and UsageError.
        """
        from .faces.archive import Archive
        from .faces.names import Names

        archive = Archive(
            # a DICOMDIR goes on naming files that keep their names
            lambda: self.session(keep_file_ids=True if keep_names else None),
            Names(names, keep=keep_names, key=self.key),
            to=to,
            compress=compress,
            others=others,
            dicomdir=dicomdir,
        )
        return archive.run(src, dst, on_member)

    def plan(self, source: Source) -> Iterator[Edit]:
        """What would change in a path, bytes or a binary file, and why; nothing is touched. Raises
        DicomError where the input would be refused, after what comes before it."""
        from .inspect import edits

        return edits(self, source)

    def verify(self, before: BinaryIO, after: BinaryIO, *, pixels: bool = True) -> Verdict:
        """Whether an output keeps the promises; both files must be able to seek. Without `pixels`
        pixel data is not read. Raises DicomError if the original is refused, and OSError."""
        from .verify import check

        return check(self, before, after, pixels=pixels)
