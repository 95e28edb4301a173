"""The simulation finds what it is for: a guard taken out is a promise broken within a bounded number of seeds.

The bounds are generous, because any change of the world changes what a seed means. Guards that back each other up are
taken out together; alone, they are listed below. What seeds meet too seldom has a test of its own:
tests/unit/transport/test_claiming.py.
"""

import pytest

from tests.simulation import mutants
from tests.simulation.world import World


def search(mutant, most, words=""):
    """What is found that has these words; without a guard, seeds fail in more ways than one."""
    with getattr(mutants, mutant)():
        for seed in range(most):
            failure = World(seed).run().failure
            if failure is not None and words in str(failure):
                return str(failure)
    return None


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mutant", "most", "words"),
    [
        ("no_fence_in_record", 400, "was completed under fence"),
        ("neither_fence_nor_incarnation_in_record", 200, "under fence"),
        ("no_tombstone_in_claim", 400, "was declared dead"),
        ("claim_takes_what_is_ready", 200, "from ready to running"),
        ("no_reconcile", 50, "not quiet"),
        ("no_look_at_own_running_at_all", 600, "its handler was never started"),
        ("publish_before_commit", 300, "though nothing failed"),
        ("publish_before_commit_and_claim_what_is_ready", 50, "from ready to running"),
        ("every_death_is_a_crash", 300, "was charged with a crash"),
        ("a_lost_answer_to_a_read_is_left_alone", 300, "not quiet"),
        ("attempts_of_a_job_share_their_place_in_the_books", 400, "while its handler runs"),
        ("suspects_run_beside_others", 600, "must run alone"),
        ("a_follow_up_does_not_wait", 60, "starts before"),
        ("an_end_is_recorded_and_not_counted", 60, "not quiet"),
        ("a_stale_transaction_commits", 900, "effects"),
        ("a_tick_in_two_transactions", 400, "have the jobs"),
        ("a_tick_of_whoever_comes", 400, "have the jobs"),
        ("a_tick_that_was_missed_is_not_counted", 200, "were counted"),
        ("lanes_are_never_full", 100, "one too many"),
        ("a_group_is_never_full", 100, "one too many"),
        ("a_hold_is_not_heeded", 200, "is held back"),
        ("a_ceiling_is_not_heeded", 600, "one too many"),
        ("the_newest_of_an_ordered_lane_goes_first", 100, "in the ordered lane"),
        ("a_paused_queue_is_not_heard_of", 300, "is held back"),
    ],
)
def test_taking_out_a_guard_is_noticed(mutant, most, words):
    assert search(mutant, most, words) is not None, f"{most} seeds noticed nothing"


@pytest.mark.parametrize(
    "mutant",
    [
        # The pump looks up what an ambiguous claim gave it, and the beat looks again: either is enough. The beat's
        # alone is needed when a claim takes effect after that look-up: a stalled server, and a reconcile between.
        "no_look_at_own_running",
        "no_look_after_an_ambiguous_claim",
        # Whoever leaves `running` gives up its incarnation in the same statement, so the state says nothing more.
        "no_running_in_record",
        # The relay reconciles between its own passes, and a second relay's duplicate is refused by the claim: the
        # guard saves work, not correctness.
        "undispatch_whatever_was_seen",
        # Everything is looked at again twice a second: it is for speed that a group lets others in when it has room.
        "a_group_lets_nobody_in",
    ],
)
def test_a_guard_behind_a_guard_is_missed_by_nobody(mutant):
    assert search(mutant, 60) is None
