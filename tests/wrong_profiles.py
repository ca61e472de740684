"""Profile files whose text, or whose words above the rules, are wrong: name, text, messages."""

from __future__ import annotations

R = 'extends = "basic"\n[rules]\n'
N = 'extends = "nothing"\nunlisted = "keep"\nprivate = "blank"\nunknown = "blank"\n'
CASES: list[tuple[str, str | bytes, str]] = [
    # the file
    ("empty", "", "1: `extends` is missing: basic, sup142, omidb, a file, or nothing"),
    (
        "not_utf8",
        b'extends = "basic"\n# caf\xe9\n',
        "2: a profile is in UTF-8, and this line is not",
    ),
    (
        "no_extends",
        '[rules]\nPatientID = "keep"\n',
        "1: `extends` is missing: basic, sup142, omidb, a file, or nothing",
    ),
    # syntax
    ("tag_without_quotes", R + '(0010,0010) = "keep"\n', '3: put the tag in quotes: "(0010,0010)"'),
    (
        "tag_with_comma_without_quotes",
        R + '0010,0010 = "keep"\n',
        '3: put the tag in quotes: "0010,0010"',
    ),
    ("vr_without_quotes", R + 'VR DA = "shift"\n', '3: put the rule by VR in quotes: "VR DA"'),
    (
        "private_without_quotes",
        R + '0019 "GEMS_ACQU_01" 23 = "keep"\n',
        "3: put the private attribute in single quotes: '0019 \"GEMS_ACQU_01\" 23'",
    ),
    (
        "private_in_double_quotes",
        R + '"0019 "GEMS_ACQU_01" 23" = "keep"\n',
        "3: put the private attribute in single quotes: '0019 \"GEMS_ACQU_01\" 23'",
    ),
    (
        "path_without_quotes",
        R + 'ContentSequence/TextValue = "keep"\n',
        '3: put the path in quotes: "ContentSequence/TextValue"',
    ),
    (
        "word_without_quotes",
        R + "PatientID = pseudonym\n",
        '3: put the word in quotes: "pseudonym"',
    ),
    ("top_word_without_quotes", "extends = basic\n", '1: put the word in quotes: "basic"'),
    ("colon", R + "PatientID: keep\n", '3: write = for the colon: PatientID = "keep"'),
    ("colon_json", R + 'PatientID = { set: "X" }\n', '3: write = for the colon: { set = "TEXT" }'),
    ("no_value", R + "PatientID\n", '3: a line is KEY = VALUE, such as PatientID = "blank"'),
    ("quote_not_closed", R + 'PatientID = "keep\n', "3: not TOML: a closing quote is missing"),
    (
        "quotes_of_a_text_processor",
        R + "PatientID = “keep”\n",
        '3: not the quotes of TOML: write " for them',
    ),
    (
        "list_not_closed",
        'extends = "basic"\noptions = ["retain-uids"\n',
        "2: a list or a text is not closed",
    ),
    (
        "list_without_quotes",
        'extends = "basic"\noptions = [\n  "retain-uids",\n  clean-graphics,\n]\n',
        '4: put the word in quotes: "clean-graphics"',
    ),
    (
        "table_not_closed",
        'extends = "basic"\n[rules\nPatientID = "keep"\n',
        "2: a table is not closed: write [rules]",
    ),
    (
        "two_tables",
        R + 'PatientID = "keep"\n[rules]\nPatientSex = "keep"\n',
        "4: [rules] stands on line 2 already",
    ),
    (
        "double_brackets",
        'extends = "basic"\n[[rules]]\nPatientID = "keep"\n',
        "2: there is one table rules: write [rules]",
    ),
    (
        "two_at_once",
        R + 'PatientID = keep\nPatientSex = keep\nPatientNmae = "blank"\n',
        '3: put the word in quotes: "keep"\n'
        '4: put the word in quotes: "keep"\n'
        "5: unknown keyword 'PatientNmae'; PatientName (0010,0010) was meant?",
    ),
    # words at the top
    (
        "unknown_profile",
        'extends = "basik"\n',
        "1: no profile 'basik'; \"basic\" was meant? there are: basic, sup142, omidb, "
        "nothing, or a file that ends in .toml",
    ),
    (
        "unknown_profile_nothing_like_it",
        'extends = "hospital"\n',
        "1: no profile 'hospital'; there are: basic, sup142, omidb, nothing, or a file "
        "that ends in .toml",
    ),
    (
        "empty_profile",
        'extends = ""\n',
        "1: no profile ''; there are: basic, sup142, omidb, nothing, or a file that ends in .toml",
    ),
    (
        "extends_list",
        'extends = ["basic", "sup142"]\n',
        '1: `extends` is a text in quotes: extends = "..."',
    ),
    (
        "extends_missing_file",
        'extends = "no-such-file.toml"\n',
        "1: no-such-file.toml: cannot read the profile: No such file or directory",
    ),
    (
        "extends_itself",
        'extends = "profile.toml"\n',
        "1: profile.toml extends itself, this way or by other files",
    ),
    (
        "unknown_word",
        'extends = "basic"\nextend = "omidb"\n',
        "2: unknown word 'extend'; extends was meant?",
    ),
    (
        "unknown_word_nothing_like_it",
        'extends = "basic"\nzzz = 1\n',
        "2: unknown word 'zzz'; there are: title, extends, edition, options, unlisted, "
        "private, unknown, shift-days, rules",
    ),
    (
        "underscore",
        'extends = "basic"\nshift_days = [-10, -1]\n',
        "2: unknown word 'shift_days'; shift-days was meant?",
    ),
    (
        "rule_at_the_top",
        'extends = "basic"\nPatientID = "keep"\n',
        "2: a rule stands below the line [rules]: PatientID",
    ),
    (
        "rule_by_tag_at_the_top",
        'extends = "basic"\n"(0010,0020)" = "keep"\n',
        "2: a rule stands below the line [rules]: (0010,0020)",
    ),
    (
        "wrong_table",
        'extends = "basic"\n[rule]\nPatientID = "keep"\n',
        "2: unknown word 'rule'; rules was meant?",
    ),
    (
        "rules_no_table",
        'extends = "basic"\nrules = "PatientID"\n',
        "2: the rules are a table: a line [rules], then KEY = ACTION",
    ),
    (
        "unlisted",
        'extends = "basic"\nunlisted = "remove"\n',
        "2: `unlisted` cannot be 'remove'; \"blank\" was meant? there are: keep, blank",
    ),
    (
        "unlisted_typo",
        'extends = "basic"\nunlisted = "keeep"\n',
        "2: `unlisted` cannot be 'keeep'; \"keep\" was meant? there are: keep, blank",
    ),
    (
        "unlisted_boolean",
        'extends = "basic"\nunlisted = false\n',
        "2: `unlisted` cannot be false; there are: keep, blank",
    ),
    (
        "unlisted_empty",
        'extends = "basic"\nunlisted = ""\n',
        "2: `unlisted` cannot be ''; there are: keep, blank",
    ),
    (
        "private",
        'extends = "basic"\nprivate = "sage"\n',
        "2: `private` cannot be 'sage'; \"safe\" was meant? there are: keep, blank, safe",
    ),
    (
        "unknown",
        'extends = "basic"\nunknown = "safe"\n',
        "2: `unknown` cannot be 'safe'; there are: keep, blank",
    ),
    (
        "nothing_said",
        'extends = "nothing"\n',
        '1: extends = "nothing" needs the words unlisted = "keep" or "blank", private '
        '= "keep" or "blank" or "safe", unknown = "keep" or "blank"',
    ),
    (
        "nothing_with_options",
        N + 'options = ["retain-uids"]\n',
        '5: options change the rows of a profile, and "nothing" has none',
    ),
    ("nothing_with_edition", N + 'edition = "2023b"\n', "5: editions belong to the profile basic"),
    (
        "edition",
        'extends = "basic"\nedition = "2023"\n',
        "2: `edition` cannot be '2023'; \"2023b\" was meant? there are: 2011, 2017c, "
        "2019c, 2021b, 2023b, 2024b, 2026c, 2026d",
    ),
    (
        "edition_number",
        'extends = "basic"\nedition = 2011\n',
        '2: `edition` cannot be 2011; "2011" was meant? there are: 2011, 2017c, 2019c, '
        "2021b, 2023b, 2024b, 2026c, 2026d",
    ),
    (
        "edition_of_sup142",
        'extends = "sup142"\nedition = "2023b"\n',
        "2: editions belong to the profile basic",
    ),
    (
        "option",
        'extends = "basic"\noptions = ["retain-uid"]\n',
        "2: no option 'retain-uid'; retain-uids was meant?",
    ),
    (
        "option_in_other_words",
        'extends = "basic"\noptions = ["Retain Device Identity"]\n',
        "2: no option 'Retain Device Identity'; retain-device-identity was meant?",
    ),
    (
        "option_nothing_like_it",
        'extends = "basic"\noptions = ["xyz"]\n',
        "2: no option 'xyz'; there are: retain-safe-private, retain-uids, "
        "retain-device-identity, retain-institution-identity, "
        "retain-patient-characteristics, retain-longitudinal-full-dates, "
        "retain-longitudinal-modified-dates, clean-descriptors, "
        "clean-structured-content, clean-graphics",
    ),
    (
        "option_twice",
        'extends = "basic"\noptions = ["retain-uids", "retain-uids"]\n',
        "2: the option retain-uids stands there twice",
    ),
    (
        "option_text",
        'extends = "basic"\noptions = "retain-uids"\n',
        '2: `options` is a list of texts: options = ["retain-uids"]',
    ),
    (
        "options_that_exclude_each_other",
        'extends = "basic"\noptions = [\n  "retain-longitudinal-full-dates",\n'
        '  "retain-longitudinal-modified-dates",\n]\n',
        "2: full dates and modified dates exclude each other (PS3.15 E.3.6)",
    ),
    (
        "options_of_omidb",
        'extends = "omidb"\noptions = ["retain-uids"]\n',
        "2: the profile omidb has no options",
    ),
    (
        "option_that_sup142_had_not",
        'extends = "sup142"\noptions = ["retain-institution-identity"]\n',
        "2: Supplement 142 had no option retain-institution-identity",
    ),
    (
        "private_against_option",
        'extends = "basic"\noptions = ["retain-safe-private"]\nprivate = "blank"\n',
        '3: private = "blank" excludes the option retain-safe-private',
    ),
    (
        "days_one",
        'extends = "basic"\nshift-days = 30\n',
        "2: `shift-days` is a list of two whole numbers: shift-days = [-3650, -1]",
    ),
    (
        "days_text",
        'extends = "basic"\nshift-days = ["-30", "-1"]\n',
        "2: `shift-days` is a list of two whole numbers: shift-days = [-3650, -1]",
    ),
    (
        "days_order",
        'extends = "basic"\nshift-days = [-1, -30]\n',
        "2: `shift-days` has the least days first, both from -36500 to 36500",
    ),
    ("days_zero", 'extends = "basic"\nshift-days = [0, 0]\n', "2: a shift by 0 days moves nothing"),
    (
        "days_far",
        'extends = "basic"\nshift-days = [-40000, -1]\n',
        "2: `shift-days` has the least days first, both from -36500 to 36500",
    ),
    (
        "title",
        'extends = "basic"\ntitle = "Studie für Köln"\n',
        "2: `title` does not fit (0012,0063): only ASCII fits every character set",
    ),
]
