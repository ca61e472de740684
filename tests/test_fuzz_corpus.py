"""What the fuzzer has found so far, and its seeds: every invariant of fuzz/target.py, any build."""

from __future__ import annotations

from cases import Pieces, Refusal, fault_names, run_session
from fuzz import corpus, seeds
from fuzz.target import PROFILES, Case, check


def failures(of: dict[str, bytes]) -> list[str]:
    found = []
    for name, data in of.items():
        try:
            check(data)
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {error}")
    return found


def test_seeds() -> None:
    assert failures(dict(seeds.seeds())) == []


def test_corpus() -> None:
    assert failures(corpus.load()) == []


def test_seeds_are_of_every_kind() -> None:
    """Most are taken, so that mutations begin where something is rewritten."""
    results, syntaxes, profiles = [], set(), set()
    for _, data in seeds.seeds():
        case = Case(data)
        session = case.session(len(case.file) + 8)
        results.append(run_session(session, Pieces(case.file, [])).result)
        syntaxes.add(session.report.transfer_syntax)
        profiles.add(case.profile)
    assert sum(isinstance(result, bytes) for result in results) > 0.75 * len(results)
    assert len(profiles) == len(PROFILES)
    assert len(syntaxes) >= 8


def test_corpus_meets_the_faults() -> None:
    """Of the machine's faults, all but those that take more bytes than an input has."""
    met = set()
    for data in corpus.load().values():
        case = Case(data)
        result = run_session(case.session(len(case.file) + 8), Pieces(case.file, [])).result
        if isinstance(result, Refusal):
            met.add(result.fault)
    too_long = {"NO_FAULT", "TOO_DEEP", "TOO_LONG", "TOO_MANY_BLOCKS", "ICON_TOO_LONG"}
    assert set(fault_names()) - met <= too_long
