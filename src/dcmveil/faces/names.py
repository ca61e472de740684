"""What outputs are called: a template of new values, since an old name may name a person."""

from __future__ import annotations

import os

from ..errors import DicomError, UsageError
from ..keyed import Digests
from ..keys import keyed_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..report import Report
    from .ordinary import Ordinary

DEFAULT_TEMPLATE = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_SAFE_OR_NOT = bytes(c if c in _SAFE else ord("_") for c in range(256))
# field -> attribute of the report, and what stands for a missing value
_FIELDS = {
    "PatientID": ("patient_id", "no-patient"),
    "StudyInstanceUID": ("study", "no-study"),
    "SeriesInstanceUID": ("series", "no-series"),
    "SOPInstanceUID": ("instance", "no-instance-"),
}
_MAC_FIELD = "Mac"
_SLASH = ord("/")
_MAC_BYTES = 16
# A UID has 64 characters at most and a Patient ID too (PS3.5 Table 6.2-1); in one of another
# length somebody may have put a book.
_VALUE_LIMIT = 64
_COMPONENT_LIMIT = 255  # NAME_MAX of nearly every file system
_ENDING_LIMIT = 16  # an ending such as ".dcm" that a shortened component keeps


class Names:
    """The relative path of each output, as bytes with slashes.

    template  text and the fields {StudyInstanceUID}, {SeriesInstanceUID}, {SOPInstanceUID} and
              {PatientID}, which take the new values, and {Mac}; components with slashes between
    keep      the path of the input is that of the output too
    key       the project's key

    A name depends on the key, the new values and the input's own relative path, on no other file
    and no order. Values keep A-Z a-z 0-9 . _ - and have _ for anything else. Two inputs may get
    one name: then their new values are equal. Raises UsageError for a template that has an unknown
    field, is empty or absolute, or has a component that is empty or begins with a dot.
    """

    __slots__ = ("_folder", "_folder_of", "_folders_differ", "_macs", "_template", "keep")

    def __init__(self, template: str | None = None, *, keep: bool = False, key: bytes) -> None:
        if keep and template is not None:
            raise UsageError("names are kept or made from a template, not both")
        self.keep = keep
        self._template = _parse(DEFAULT_TEMPLATE if template is None else template)
        self._macs = Digests(keyed_hash(key, "path", _MAC_BYTES))
        self._folders_differ = any(
            _is_of_one_input(part) for parts in self._template[:-1] for part in parts
        )
        # of the input before: files of one series follow each other, and share their folder
        self._folder_of: tuple[str, str, str] | None = None
        self._folder = b""

    def name(self, report: Report | Ordinary, relative: bytes) -> bytes:
        """The output's path for an input at the path `relative`, rewritten with this report.

        Raises DicomError where names are kept and this one is absolute, leads upwards or is none.
        """
        if self.keep:
            return _kept(relative)
        return self._folder_for(report, relative) + self._component(
            self._template[-1], report, relative
        )

    def around_instance(self, report: Report | Ordinary) -> tuple[bytes, bytes] | None:
        """What stands before the new SOP Instance UID, and behind it, in the names of all inputs
        with the Patient ID, study and series of this report, where that UID is of digits and dots
        and begins with a digit. None: more than these decide."""
        if self.keep or self._folders_differ:
            return None
        parts = self._template[-1]
        places = [i for i, part in enumerate(parts) if _is_of_one_input(part)]
        if [parts[place] for place in places] != ["SOPInstanceUID"]:
            return None
        before, behind = (
            b"".join([self._part(part, report, b"") for part in some])
            for some in (parts[: places[0]], parts[places[0] + 1 :])
        )
        if len(before) + _VALUE_LIMIT + len(behind) > _COMPONENT_LIMIT:
            return None
        return self._folder_for(report, b"") + before, behind

    def _folder_for(self, report: Report | Ordinary, relative: bytes) -> bytes:
        """With a slash behind it, if it is not empty."""
        same = (report.patient_id, report.study, report.series)
        if same != self._folder_of:
            folder = [self._component(parts, report, relative) for parts in self._template[:-1]]
            self._folder = b"/".join([*folder, b""])
            self._folder_of = None if self._folders_differ else same
        return self._folder

    def mac(self, relative: bytes) -> str:
        """Stands for an input's path in reports: 32 hexadecimal digits, a MAC under the key."""
        return self._macs.hex(relative)

    def _component(
        self, parts: list[str | bytes], report: Report | Ordinary, relative: bytes
    ) -> bytes:
        """Text (bytes) and fields (str) put together, shortened where a file system must."""
        whole = b"".join([self._part(part, report, relative) for part in parts])
        if len(whole) <= _COMPONENT_LIMIT:
            return whole
        ending = parts[-1] if isinstance(parts[-1], bytes) else b""
        ending = b"-" + self.mac(whole).encode() + ending[-_ENDING_LIMIT:]
        return whole[: _COMPONENT_LIMIT - len(ending)] + ending

    def _part(self, field: str | bytes, report: Report | Ordinary, relative: bytes) -> bytes:
        if isinstance(field, bytes):
            return field
        if field == _MAC_FIELD:
            return self.mac(relative).encode()
        attribute, missing = _FIELDS[field]
        value: bytes = getattr(report, attribute).encode()
        if not value:
            value = missing.encode()
            if attribute == "instance":
                value += self.mac(relative).encode()
        value = value.translate(_SAFE_OR_NOT)[:_VALUE_LIMIT]
        return b"_" + value[1:] if value.startswith(b".") else value


def _is_of_one_input(part: str | bytes) -> bool:
    """A field that is another one for each input of a series."""
    return isinstance(part, str) and part in ("SOPInstanceUID", _MAC_FIELD)


def _parse(template: str) -> list[list[str | bytes]]:
    """For each component its parts: text as bytes, fields by name."""
    if not template:
        raise UsageError("the template for names is empty")
    if template.startswith("/"):
        raise UsageError("the template for names is an absolute path")
    return [_parse_component(component) for component in template.split("/")]


def _parse_component(component: str) -> list[str | bytes]:
    if not component:
        raise UsageError("the template for names has an empty component")
    if component.startswith("."):
        raise UsageError("the template for names has a component that begins with a dot")
    if "\0" in component:
        raise UsageError("the template for names has a NUL")
    parts: list[str | bytes] = []
    rest = component
    while rest:
        text, brace, rest = rest.partition("{")
        if "}" in text:
            raise UsageError("the template for names has a brace without its partner")
        if text:
            parts.append(os.fsencode(text))
        if brace:
            field, end, rest = rest.partition("}")
            if not end:
                raise UsageError("the template for names has a brace without its partner")
            if field not in _FIELDS and field != _MAC_FIELD:
                known = ", ".join([*_FIELDS, _MAC_FIELD])
                raise UsageError(f"the template for names has an unknown field; there are: {known}")
            parts.append(field)
    return parts


def _kept(relative: bytes) -> bytes:
    """The same path without empty components and those of a single dot."""
    if relative and relative[0] not in b"/." and relative[-1] != _SLASH and not (
        b"//" in relative or b"/." in relative or b"\\" in relative or b"\0" in relative
    ):  # fmt: skip
        return relative  # as nearly all are
    components = [c for c in relative.split(b"/") if c not in (b"", b".")]
    # archives of Windows may have backslashes, and some programs there take them for slashes
    slashed = relative.replace(b"\\", b"/")
    upwards = b".." in slashed.split(b"/")
    if slashed.startswith(b"/") or upwards or b"\0" in relative or not components:
        raise DicomError(None, None, "its name cannot be kept: it is not one inside a folder")
    return b"/".join(components)
