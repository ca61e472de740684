"""dcmveil: a streaming, byte-level, length-preserving rewriter that de-identifies DICOM.

    veil = dcmveil.Veil("basic", key=dcmveil.read_key("project.key"))
    with open("in.dcm", "rb") as src, open("out.dcm", "wb") as dst:
        report = veil.stream(src, dst)

Names are imported when they are first used: a pipe runs the program once for each file.
"""

from __future__ import annotations

__version__ = "0.1.0"

_HOME = {  # public name -> module, and the name in there where it is another
    "ArchiveError": "errors",
    "ArchiveReport": "faces.archive",
    "DcmveilError": "errors",
    "DicomError": "errors",
    "FileError": "errors",
    "KeyFileError": "errors",
    "NotDicomError": "errors",
    "Profile": "profile",
    "PseudonymTable": "pseudonyms",
    "Report": "report",
    "Session": "session",
    "UsageError": "errors",
    "Veil": "veil",
    "load_profile": "profile:load",
    "load_pseudonyms": "pseudonyms:load_table",
    "new_key": "keys",
    "read_key": "keys",
    "write_key": "keys",
}
__all__ = [
    "ArchiveError",
    "ArchiveReport",
    "DcmveilError",
    "DicomError",
    "FileError",
    "KeyFileError",
    "NotDicomError",
    "Profile",
    "PseudonymTable",
    "Report",
    "Session",
    "UsageError",
    "Veil",
    "__version__",
    "load_profile",
    "load_pseudonyms",
    "new_key",
    "read_key",
    "write_key",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import (
        ArchiveError,
        DcmveilError,
        DicomError,
        FileError,
        KeyFileError,
        NotDicomError,
        UsageError,
    )
    from .faces.archive import ArchiveReport
    from .keys import new_key, read_key, write_key
    from .profile import Profile
    from .profile import load as load_profile
    from .pseudonyms import PseudonymTable
    from .pseudonyms import load_table as load_pseudonyms
    from .report import Report
    from .session import Session
    from .veil import Veil


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, original = home.partition(":")
    value: object = getattr(__import__(f"{__name__}.{module}", fromlist=[module]), original or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
