"""The public class: a profile plus a key, ready to use, one method a face."""

from __future__ import annotations

from .engine import Engine
from .errors import UsageError
from .faces.stream import Reader, stream
from .profile import Profile, load
from .session import HOLD_LIMIT as HOLD_LIMIT
from .session import INFLATE_LIMIT as INFLATE_LIMIT
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .core import Trace
    from .faces.stream import Readable, Writable
    from .inspect import Edit, Source
    from .pseudonyms import PseudonymTable
    from .report import Report
    from .session import Watch

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
        self._accept_cut_pixels = accept_cut_pixels
        self._ignore_mark = ignore_mark
        self._hold_limit = hold_limit
        self._inflate_limit = inflate_limit

    def session(self, trace: list[Trace] | None = None, watch: Watch | None = None) -> Session:
        """The state machine of one input, without I/O, for those who bring their own loop, or want
        to look on (see Session)."""
        return Session(
            self._engine,
            accept_cut_pixels=self._accept_cut_pixels,
            ignore_mark=self._ignore_mark,
            hold_limit=self._hold_limit,
            inflate_limit=self._inflate_limit,
            trace=trace,
            watch=watch,
        )

    def bytes(self, data: Bytes | bytearray | memoryview) -> Bytes:
        """The rewritten bytes of a whole file or data set. Raises DicomError, and then nothing
        was returned."""
        import io

        out = io.BytesIO()
        self.stream(io.BytesIO(data), out)
        return out.getvalue()

    def stream(self, src: Readable, dst: Writable) -> Report:
        """Rewrite a readable into a writable, in bounded memory. Raises DicomError; the bytes
        written until then were rewritten, but the output is not whole and must be thrown away."""
        return stream(self.session(), src, dst)

    def reader(self, src: Readable) -> Reader:
        """A readable that rewrites `src` as it is read. Its reads raise DicomError."""
        return Reader(self.session(), src)

    def plan(self, source: Source) -> Iterator[Edit]:
        """What would change in a path, bytes or a binary file, and why; nothing is touched. Raises
        DicomError where the input would be refused, after what comes before it."""
        from .inspect import edits

        return edits(self, source)
