"""Profile files whose rules are wrong: name, text, messages."""

from __future__ import annotations

R = 'extends = "basic"\n[rules]\n'
N = 'extends = "nothing"\nunlisted = "keep"\nprivate = "blank"\nunknown = "blank"\n'
CASES: list[tuple[str, str | bytes, str]] = [
    # what a rule is for
    (
        "keyword",
        R + 'PatientNmae = "keep"\n',
        "3: unknown keyword 'PatientNmae'; PatientName (0010,0010) was meant?",
    ),
    (
        "keyword_case",
        R + 'patientname = "keep"\n',
        "3: unknown keyword 'patientname'; PatientName (0010,0010) was meant?",
    ),
    (
        "keyword_spaces",
        R + '"Patient\'s Birth Date" = "keep"\n',
        '3: unknown keyword "Patient\'s Birth Date"; PatientBirthDate (0010,0030) was meant?',
    ),
    ("keyword_nothing_like_it", R + 'Zzzzzz = "keep"\n', "3: unknown keyword 'Zzzzzz'"),
    (
        "tag_short",
        R + '"(0010,10)" = "keep"\n',
        "3: '(0010,10)' is no tag; write four digits twice, such as \"(0010,0020)\"",
    ),
    (
        "tag_hex",
        R + '"0x00100010" = "keep"\n',
        "3: '0x00100010' is no tag; write four digits twice, such as \"(0010,0020)\"",
    ),
    (
        "tag_one_bracket",
        R + '"(0010,0010" = "keep"\n',
        "3: '(0010,0010' is no tag; write four digits twice, such as \"(0010,0020)\"",
    ),
    (
        "private_tag",
        R + '"(0019,1023)" = "keep"\n',
        "3: (0019,1023) is private, and each file assigns its own block (PS3.5 section "
        "7.8): write '0019 \"CREATOR\" 23', or say `private` for all of them",
    ),
    (
        "item",
        R + '"(FFFE,E000)" = "keep"\n',
        "3: (FFFE,E000) is an item or a delimiter, no attribute",
    ),
    (
        "group_length",
        R + '"(0008,0000)" = "blank"\n',
        "3: (0008,0000) is a group length, which stays correct by itself",
    ),
    (
        "pattern_of_groups",
        R + '"(00xx,0010)" = "blank"\n',
        "3: only these groups are patterns: 50xx, 60xx, 7Fxx; name any other one by one",
    ),
    (
        "vr",
        R + '"VR DX" = "keep"\n',
        "3: there is no VR 'DX'; there are: AE, AS, AT, CS, DA, DS, DT, FD, FL, IS, "
        "LO, LT, OB, OD, OF, OL, OV, OW, PN, SH, SL, SQ, SS, ST, SV, TM, UC, UI, UL, "
        "UN, UR, US, UT, UV",
    ),
    ("vr_case", R + '"VR da" = "keep"\n', '3: VRs are in upper case: "VR DA"'),
    ("vr_alone", R + 'DA = "shift"\n', '3: no keyword; a rule by VR is "VR DA"'),
    (
        "private_group_even",
        R + '\'0018 "GEMS_ACQU_01" 23\' = "keep"\n',
        "3: group 0018 is even: private groups are odd (PS3.5 section 7.8)",
    ),
    (
        "private_group_reserved",
        R + '\'0001 "GEMS_ACQU_01" 23\' = "keep"\n',
        "3: group 0001 cannot be private (PS3.5 section 7.8)",
    ),
    (
        "private_whole_element",
        R + '\'0019 "GEMS_ACQU_01" 1023\' = "keep"\n',
        "3: of a private element, the last two digits alone are named: '0019 \"GEMS_ACQU_01\" 23'",
    ),
    (
        "private_without_creator",
        R + '\'0019 "" 23\' = "keep"\n',
        "3: the private creator is empty; write '0019 \"GEMS_ACQU_01\" 23': group, "
        "creator, last two digits",
    ),
    (
        "private_creator_with_backslash",
        R + '\'0019 "A\\B" 23\' = "keep"\n',
        "3: a private creator has 1 to 64 printable ASCII characters (VR LO)",
    ),
    (
        "private_in_a_path",
        R + '\'ContentSequence/0019 "GEMS_ACQU_01" 23\' = "keep"\n',
        "3: private attributes cannot stand in a path",
    ),
    (
        "path_slash",
        R + '"/ContentSequence" = "keep"\n',
        "3: a path has an attribute on both sides of each /",
    ),
    (
        "path_keyword",
        R + '"ContentSequenz/TextValue" = "keep"\n',
        "3: unknown keyword 'ContentSequenz'; ContentSequence (0040,A730) was meant?",
    ),
    (
        "path_no_sequence",
        R + '"PatientName/TextValue" = "keep"\n',
        "3: PatientName is no sequence: its VR is PN",
    ),
    (
        "path_pattern",
        R + '"ContentSequence/OverlayData" = "keep"\n',
        "3: OverlayData stands for several tags; a path names single ones",
    ),
    # what it does
    ("action", R + 'PatientName = "kepe"\n', "3: unknown action 'kepe'; keep was meant?"),
    (
        "action_of_other_tools",
        R + 'PatientName = "remove"\n',
        "3: unknown action 'remove'; blank was meant?",
    ),
    ("action_code", R + 'PatientName = "X"\n', "3: unknown action 'X'; blank was meant?"),
    (
        "action_replace",
        R + 'PatientName = "replace"\n',
        "3: unknown action 'replace'; { set = \"TEXT\" } was meant?",
    ),
    (
        "action_nothing_like_it",
        R + 'PatientName = "qqqq"\n',
        "3: unknown action 'qqqq'; there are: keep, blank, dummy, uid, shift, year, "
        "zero-time, pseudonym, hash, clean, set",
    ),
    (
        "action_boolean",
        R + "PatientName = true\n",
        '3: an action is a word such as "blank", or { set = "TEXT" }',
    ),
    (
        "action_list",
        R + 'PatientName = ["keep", "blank"]\n',
        '3: an action is a word such as "blank", or { set = "TEXT" }',
    ),
    ("set_without_text", R + 'PatientName = "set"\n', '3: `set` needs its text: { set = "TEXT" }'),
    (
        "set_number",
        R + "PatientWeight = { set = 70 }\n",
        '3: the text of `set` stands in quotes: { set = "70" }',
    ),
    (
        "two_actions",
        R + 'PatientName = { set = "X", pseudonym = "patient" }\n',
        '3: one rule has one action, such as { set = "TEXT" }',
    ),
    ("no_action", R + "PatientName = {}\n", '3: one rule has one action, such as { set = "TEXT" }'),
    (
        "keep_with_argument",
        R + "PatientName = { keep = true }\n",
        '3: `keep` has no argument; write "keep"',
    ),
    (
        "shift_with_argument",
        R + "StudyDate = { shift = -30 }\n",
        "3: `shift` has no argument: `shift-days` at the top is for all dates",
    ),
    (
        "pseudonym_kind",
        R + 'PatientName = { pseudonym = "name" }\n',
        "3: no kind of pseudonym 'name'; there are: patient, patient-id, accession",
    ),
    # what does not fit
    (
        "shift_uid",
        R + 'StudyInstanceUID = "shift"\n',
        "3: `shift` moves dates (DA, DT, TM), and the VR of StudyInstanceUID (0020,000D) is UI",
    ),
    (
        "uid_date",
        R + 'StudyDate = "uid"\n',
        "3: `uid` replaces UIDs (UI), and the VR of StudyDate (0008,0020) is DA",
    ),
    (
        "year_of_time",
        R + 'StudyTime = "year"\n',
        "3: `year` keeps the year of dates (DA, DT), and the VR of StudyTime (0008,0030) is TM",
    ),
    (
        "zero_time_of_date",
        R + 'StudyDate = "zero-time"\n',
        "3: `zero-time` sets times (TM) to midnight, and the VR of StudyDate (0008,0020) is DA",
    ),
    (
        "hash_number",
        R + 'Rows = "hash"\n',
        "3: `hash` replaces texts, and the VR of Rows (0028,0010) is US",
    ),
    (
        "pseudonym_of_date",
        R + 'PatientBirthDate = "pseudonym"\n',
        "3: `pseudonym` replaces texts, and the VR of PatientBirthDate (0010,0030) is DA",
    ),
    (
        "set_binary",
        R + 'SmallestImagePixelValue = { set = "0" }\n',
        "3: `set` writes a text, and the VR of SmallestImagePixelValue (0028,0106) is US",
    ),
    (
        "set_sequence",
        R + 'ContentSequence = { set = "X" }\n',
        "3: `set` writes a text, and the VR of ContentSequence (0040,A730) is SQ",
    ),
    (
        "set_date",
        R + 'PatientBirthDate = { set = "1980-01-01" }\n',
        "3: '1980-01-01' does not fit PatientBirthDate (0010,0030): a date is YYYYMMDD",
    ),
    (
        "set_no_such_date",
        R + 'PatientBirthDate = { set = "19800230" }\n',
        "3: '19800230' does not fit PatientBirthDate (0010,0030): there is no such date or time",
    ),
    (
        "set_time",
        R + 'StudyTime = { set = "2500" }\n',
        "3: '2500' does not fit StudyTime (0008,0030): there is no such date or time",
    ),
    (
        "set_age",
        R + 'PatientAge = { set = "45" }\n',
        "3: '45' does not fit PatientAge (0010,1010): an age is three digits and D, W, "
        "M or Y, such as 045Y",
    ),
    (
        "set_code",
        R + 'BodyPartExamined = { set = "Breast" }\n',
        "3: 'Breast' does not fit BodyPartExamined (0018,0015): CS has at most 16 of "
        "A-Z, 0-9, space and _",
    ),
    (
        "set_code_long",
        R + 'BodyPartExamined = { set = "LEFT UPPER EXTREMITY" }\n',
        "3: 'LEFT UPPER EXTREMITY' does not fit BodyPartExamined (0018,0015): CS has "
        "at most 16 of A-Z, 0-9, space and _",
    ),
    (
        "set_number_text",
        R + 'PatientWeight = { set = "70 kg" }\n',
        "3: '70 kg' does not fit PatientWeight (0010,1030): DS is a decimal number of "
        "at most 16 characters",
    ),
    (
        "set_integer",
        R + 'SeriesNumber = { set = "99999999999" }\n',
        "3: '99999999999' does not fit SeriesNumber (0020,0011): IS is from "
        "-2147483648 to 2147483647",
    ),
    (
        "set_uid",
        R + 'StudyInstanceUID = { set = "1.2.03" }\n',
        "3: '1.2.03' does not fit StudyInstanceUID (0020,000D): a UID is numbers "
        "without leading 0, and dots",
    ),
    (
        "set_short",
        R + 'AccessionNumber = { set = "MORE THAN SIXTEEN" }\n',
        "3: 'MORE THAN SIXTEEN' does not fit AccessionNumber (0008,0050): SH has at "
        "most 16 printable characters",
    ),
    (
        "set_name",
        R + 'PatientName = { set = "A^B^C^D^E^F" }\n',
        "3: 'A^B^C^D^E^F' does not fit PatientName (0010,0010): a name has at most "
        "five components, divided by ^",
    ),
    (
        "set_ascii",
        R + 'PatientName = { set = "Müller" }\n',
        "3: 'Müller' does not fit PatientName (0010,0010): only ASCII fits every character set",
    ),
    (
        "set_empty",
        R + 'PatientName = { set = "" }\n',
        "3: '' does not fit PatientName (0010,0010): it is empty; write blank",
    ),
    (
        "set_address",
        R + 'RetrieveURL = { set = "a b" }\n',
        "3: 'a b' does not fit RetrieveURL (0008,1190): an address has no spaces",
    ),
    (
        "vr_pseudonym",
        R + '"VR PN" = "pseudonym"\n',
        "3: `pseudonym` is for attributes that are named, not for all of a VR",
    ),
    (
        "vr_set",
        R + '"VR PN" = { set = "X" }\n',
        "3: `set` is for attributes that are named, not for all of a VR",
    ),
    ("vr_shift", R + '"VR PN" = "shift"\n', "3: `shift` moves dates (DA, DT, TM), not PN"),
    (
        "pattern_of_many_vrs",
        R + '"0008xxxx" = "hash"\n',
        "3: `hash` needs one VR, and 0008xxxx stands for several",
    ),
    (
        "private_vr",
        R + '\'0019 "GEMS_ACQU_01" 23\' = "uid"\n',
        '3: `uid` replaces UIDs (UI), and the VR of 0019 "GEMS_ACQU_01" 23 is DS',
    ),
    # rules that meet
    (
        "twice",
        R + 'PatientID = "keep"\nPatientID = "blank"\n',
        "4: two rules for one attribute: PatientID stands on line 3 already",
    ),
    (
        "keyword_and_tag",
        R + 'PatientID = "keep"\n"(0010,0020)" = "blank"\n',
        "4: two rules for one attribute: PatientID is the same, on line 3",
    ),
    (
        "keyword_of_a_pattern",
        R + 'OverlayData = "keep"\n"60xx3000" = "blank"\n',
        "4: two rules for one attribute: OverlayData is the same, on line 3",
    ),
    (
        "vr_twice",
        R + '"VR DA" = "keep"\n"VR  DA" = "blank"\n',
        "4: two rules for one attribute: VR DA is the same, on line 3",
    ),
    (
        "private_twice",
        R + '\'0019 "GEMS_ACQU_01" 23\' = "keep"\n\'(0019,"GEMS_ACQU_01",23)\' = "blank"\n',
        '4: two rules for one attribute: 0019 "GEMS_ACQU_01" 23 is the same, on line 3',
    ),
    (
        "path_twice",
        R + 'ContentSequence = "keep"\n'
        '"ContentSequence/TextValue" = "keep"\n'
        '"(0040,A730)/(0040,A160)" = "blank"\n',
        "5: two rules for one attribute: ContentSequence/TextValue is the same, on line 4",
    ),
    (
        "patterns_that_overlap",
        R + '"60xx3000" = "keep"\n"600030xx" = "blank"\n',
        "4: two rules for one attribute: (6000,3000) fits the pattern of line 3 too",
    ),
    (
        "keep_in_blanked_sequence",
        R + '"ContentSequence/TextValue" = "keep"\n',
        "3: TextValue is never reached: ContentSequence is blanked with all that is in "
        'it (Table E.1-1 2026d: Content Sequence, D); first write "ContentSequence" = '
        '"keep"',
    ),
    (
        "keep_in_sequence_blanked_here",
        R + 'ReferencedSeriesSequence = "blank"\n"ReferencedSeriesSequence/Modality" = "keep"\n',
        "4: Modality is never reached: ReferencedSeriesSequence is blanked with all "
        'that is in it (profile.toml, line 3); first write "ReferencedSeriesSequence" '
        '= "keep"',
    ),
    (
        "keep_deep_in_blanked_sequence",
        R + 'ContentSequence = "keep"\n'
        '"ContentSequence/AuthorObserverSequence/PersonName" = "pseudonym"\n',
        "4: PersonName is never reached: AuthorObserverSequence is blanked with all "
        "that is in it (Table E.1-1 2026d: Author Observer Sequence, X); first write "
        '"ContentSequence/AuthorObserverSequence" = "keep"',
    ),
    (
        "keep_in_sequence_blanked_by_vr",
        N + '[rules]\n"VR SQ" = "blank"\n"ContentSequence/TextValue" = "keep"\n',
        "7: TextValue is never reached: ContentSequence is blanked with all that is in "
        'it (profile.toml, line 6); first write "ContentSequence" = "keep"',
    ),
    (
        "needed",
        R + 'TransferSyntaxUID = "blank"\n',
        "3: TransferSyntaxUID (0002,0010) must be kept, or no reader opens the file",
    ),
    (
        "needed_geometry",
        R + 'Rows = "blank"\n',
        "3: Rows (0028,0010) must be kept, or no reader opens the file",
    ),
    (
        "instance_uid_alone",
        R + 'SOPInstanceUID = "keep"\n',
        "3: SOPInstanceUID (0008,0018) stands in (0002,0003) too; both need the same "
        'rule: add MediaStorageSOPInstanceUID = "keep"',
    ),
    (
        "many_texts",
        R + "".join(f'"(0008,{0x3100 + i:04X})" = {{ set = "T{i}" }}\n' for i in range(64)),
        "2: 71 different texts of `set`, at most 64",
    ),
    (
        "many_places",
        R
        + "".join(
            f'"ViewCodeSequence/(0008,{0x3100 + 2 * i:04X})/CodeMeaning" = "blank"\n'
            for i in range(300)
        ),
        "2: more rules for places (SEQUENCE/ATTRIBUTE) than can be held",
    ),
]
