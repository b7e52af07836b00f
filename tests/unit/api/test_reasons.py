from __future__ import annotations

from pathlib import Path

from qlora_api.reasons import POLICIES, Policy, Reason, Retry, policy_of

PAGE = Path(__file__).parents[3] / "docs" / "failures.md"
WORDS = {Retry.NEVER: "the job fails", Retry.SOON: "new attempt", Retry.LATER: "new attempt, later"}


def test_every_reason_has_a_policy() -> None:
    assert set(POLICIES) == set(Reason)


def test_the_page_for_users_shows_the_table_of_the_code() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): (row[2], row[3], row[4]) for row in rows}
    assert told == {
        reason.value: (_words(policy), "yes" if policy.counted else "no", policy.advice)
        for reason, policy in POLICIES.items()
    }


def test_a_reason_of_a_newer_trainer_is_treated_as_its_failure() -> None:
    assert policy_of("SomethingNew") == POLICIES[Reason.TRAINER_FAILED]


def _words(policy: Policy) -> str:
    return f"in place, else {WORDS[policy.retry]}" if policy.in_place else WORDS[policy.retry]
