"""What was done to one input, in numbers: no value and no path of the input stands in it."""

from __future__ import annotations


class Report:
    """The outcome for one input.

    bytes_in, bytes_out   as read and written (they differ only for deflated data sets)
    elements              data elements seen, at any depth
    actions               how many values each action changed or checked
    uids                  "short": new UIDs of so few digits that two of a large project may be
                          equal; "vanished": UIDs under 6 characters, now NULs; "foreign": UIDs
                          under the DICOM root that the standard does not register, mapped
    notes                 what was tolerated, and how often
    transfer_syntax       its UID, "" when the input has none
    patient_id            the new Patient ID, and the new UIDs of study, series and instance, as
    study, series,        they stand in the output without padding; "" where there is none
    instance
    second_run            the input bore the mark of an earlier run: its keyed values stayed
    """

    __slots__ = (
        "actions",
        "bytes_in",
        "bytes_out",
        "elements",
        "instance",
        "notes",
        "patient_id",
        "second_run",
        "series",
        "study",
        "transfer_syntax",
        "uids",
    )

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.elements = 0
        self.actions: dict[str, int] = {}
        self.uids: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        self.transfer_syntax = ""
        self.patient_id = self.study = self.series = self.instance = ""
        self.second_run = False

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Report({fields})"

    def warnings(self) -> list[str]:
        """What a user should know of, one line each."""
        of_uids = {
            "short": "UIDs under 26 characters were mapped; in a large project two may collide",
            "vanished": "UIDs under 6 characters are too short to be mapped and became NULs",
            "foreign": "unregistered UIDs under the DICOM root were mapped",
        }
        lines = [f"{self.uids[name]} {text}" for name, text in of_uids.items() if self.uids[name]]
        return lines + [f"{count} x {note}" for note, count in self.notes.items()]
