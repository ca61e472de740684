"""The published JSON Schema of profile files. That it takes the right ones, `sites.py` checks."""

from __future__ import annotations

import tomllib

import jsonschema

import wrong_profiles
import wrong_rules
from dcmveil.profile import EDITIONS, NAMES, OPTIONS
from dcmveil.profile.wanted import WORDS
from sites import SCHEMA

# What only the data dictionary, other rules or other files can tell; the schema takes these.
BEYOND_THE_SCHEMA = {
    "edition_of_sup142",
    "extends_itself",
    "extends_missing_file",
    "group_length",
    "hash_number",
    "instance_uid_alone",
    "item",
    "keep_deep_in_blanked_sequence",
    "keep_in_blanked_sequence",
    "keep_in_sequence_blanked_by_vr",
    "keep_in_sequence_blanked_here",
    "keyword",
    "keyword_and_tag",
    "keyword_case",
    "keyword_nothing_like_it",
    "keyword_of_a_pattern",
    "many_places",
    "many_texts",
    "needed",
    "needed_geometry",
    "option_that_sup142_had_not",
    "options_of_omidb",
    "options_that_exclude_each_other",
    "path_keyword",
    "path_no_sequence",
    "path_pattern",
    "path_twice",
    "pattern_of_groups",
    "pattern_of_many_vrs",
    "patterns_that_overlap",
    "private_against_option",
    "private_group_reserved",
    "private_tag",
    "private_twice",
    "private_vr",
    "pseudonym_of_date",
    "set_address",
    "set_age",
    "set_binary",
    "set_code",
    "set_code_long",
    "set_date",
    "set_integer",
    "set_name",
    "set_no_such_date",
    "set_number_text",
    "set_sequence",
    "set_short",
    "set_time",
    "set_uid",
    "shift_uid",
    "uid_date",
    "vr_alone",
    "vr_shift",
    "vr_twice",
    "year_of_time",
    "zero_time_of_date",
    "days_order",
    "days_zero",
}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_has_the_words_of_the_language() -> None:
    top = SCHEMA["properties"]
    assert top["options"]["items"]["enum"] == list(OPTIONS)
    assert top["edition"]["enum"] == list(EDITIONS)
    assert top["extends"]["anyOf"][0]["enum"] == [*NAMES, "nothing"]
    words, *tables = SCHEMA["$defs"]["action"]["oneOf"]
    assert {*words["enum"], "set"} == set(WORDS)
    assert [table["required"] for table in tables] == [["set"], ["pseudonym"]]


def test_the_schema_refuses_what_it_can_see() -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    taken = set()
    for name, text, _ in wrong_profiles.CASES + wrong_rules.CASES:
        try:
            content = tomllib.loads(text if isinstance(text, str) else text.decode())
        except ValueError:
            continue  # no TOML
        if validator.is_valid(content):
            taken.add(name)
    assert taken == BEYOND_THE_SCHEMA
