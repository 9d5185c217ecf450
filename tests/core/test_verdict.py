"""The verdict rule by itself: properties over all answers, and the ladder step by step."""

from hypothesis import given
from hypothesis import strategies as st

from talkoot.core import confidence
from talkoot.core.types import Purpose, Quorum, Trust
from talkoot.core.verdict import Accept, Given, More, Pool, Unsteady, Want, judge

ALL = Pool(frozenset(range(1, 50)), other_owner=True, anchor=True)
NOBODY = Pool(frozenset(), other_owner=False, anchor=False)


def given_answers(*rows):
    """(node, value, purpose?) rows; the owner of node n is n."""
    return [
        Given(i, node, node, value.encode(), rest[0] if rest else (Purpose.COPY if i > 1 else Purpose.WORK), False)
        for i, (node, value, *rest) in enumerate(rows, 1)
    ]


def finding(answers, pool=ALL, verifier=Quorum(2)):  # noqa: B008 - frozen
    values = {a.attempt: a.value for a in answers}
    return judge(verifier, answers, pool, lambda a, b: values[a] == values[b])


def test_a_single_answer_wants_a_copy_and_states_its_confidence():
    found = finding(given_answers((1, "x")))
    assert found == More((Want(Purpose.COPY),), False, confidence.agreement_ppm(1), 1)


def test_two_owners_who_agree_are_accepted():
    found = finding(given_answers((1, "x"), (2, "x")))
    assert found == Accept(1, (1, 2), (), confidence.agreement_ppm(2))


def test_two_answers_of_one_owner_are_one_voice():
    answers = [Given(1, 1, 7, b"x", Purpose.WORK, False), Given(2, 2, 7, b"x", Purpose.COPY, False)]
    assert isinstance(finding(answers), More)


def test_an_own_device_that_agrees_or_is_alone_is_enough():
    assert isinstance(finding([Given(1, 1, 1, b"x", Purpose.WORK, True)]), Accept)


def test_the_ladder_reruns_first_then_another_owner_then_an_anchor():
    answers = given_answers((1, "x"), (2, "y"))
    assert finding(answers).wants == (Want(Purpose.RERUN, 1), Want(Purpose.RERUN, 2))
    answers = given_answers((1, "x"), (2, "y"), (1, "x", Purpose.RERUN), (2, "y", Purpose.RERUN))
    assert finding(answers).wants == (Want(Purpose.COPY),)
    answers = given_answers(
        (1, "x"), (2, "y"), (1, "x", Purpose.RERUN), (2, "y", Purpose.RERUN), (3, "y"), (3, "y", Purpose.RERUN)
    )
    assert finding(answers).wants == (Want(Purpose.REFEREE),)


def test_the_referees_finding_decides_and_proves_who_was_wrong():
    answers = given_answers((1, "x"), (2, "y"), (1, "x", Purpose.RERUN), (2, "y", Purpose.RERUN), (9, "y", Purpose.REFEREE))
    assert finding(answers) == Accept(2, (2, 4, 5), (1, 3), confidence.OWN_PPM, ((1, 5), (3, 5)))


def test_a_referee_who_agrees_with_nobody_runs_again_before_anyone_is_blamed():
    answers = given_answers((1, "x"), (2, "y"), (9, "z", Purpose.REFEREE))
    assert finding(answers).wants == (Want(Purpose.REFEREE),)
    assert isinstance(finding([*answers, Given(4, 9, 9, b"z", Purpose.REFEREE, False)]), Accept)
    assert isinstance(finding([*answers, Given(4, 9, 9, b"q", Purpose.REFEREE, False)]), Unsteady)


def test_two_liars_who_cover_each_other_do_not_outvote_an_anchor():
    answers = given_answers((1, "x"), (2, "y"), (3, "x"), (9, "y", Purpose.REFEREE))
    found = finding(answers)
    assert isinstance(found, Accept)
    assert set(found.rejected) == {1, 3}


def test_nodes_that_all_differ_from_themselves_show_a_program_that_is_not_deterministic():
    answers = given_answers((1, "a"), (2, "b"), (1, "c", Purpose.RERUN), (2, "d", Purpose.RERUN))
    assert isinstance(finding(answers, NOBODY), Unsteady)


def test_a_tie_without_anyone_to_decide_stays_open_and_says_why():
    answers = given_answers((1, "x"), (2, "y"), (1, "x", Purpose.RERUN), (2, "y", Purpose.RERUN))
    found = finding(answers, NOBODY)
    assert isinstance(found, More)
    assert "neither another owner nor an anchor" in found.words


PURPOSES = st.sampled_from([Purpose.WORK, Purpose.COPY, Purpose.RERUN, Purpose.REFEREE])
ROWS = st.lists(st.tuples(st.integers(1, 5), st.sampled_from("xyz"), PURPOSES), min_size=1, max_size=9)
POOLS = st.builds(Pool, st.frozensets(st.integers(1, 5)), st.booleans(), st.booleans())


@given(ROWS, POOLS, st.sampled_from([Trust(), Quorum(1), Quorum(2), Quorum(3)]))
def test_every_finding_is_lawful(rows, pool, verifier):
    answers = given_answers(*rows)
    values = {a.attempt: a.value for a in answers}
    found = finding(answers, pool, verifier)
    if isinstance(found, Accept):
        assert sorted(found.accepted + found.rejected) == sorted(values)
        assert len({values[a] for a in found.accepted}) == 1
        assert found.canonical == min(found.accepted)
        assert not {values[a] for a in found.rejected} & {values[found.canonical]}
        refereed = any(a.purpose is Purpose.REFEREE for a in answers)
        owners = {a.owner for a in answers if a.attempt in found.accepted}
        assert refereed or isinstance(verifier, Trust) or len(owners) >= verifier.copies
        assert not found.convictable or refereed
        assert 0 <= found.confidence_ppm <= confidence.OWN_PPM
    elif isinstance(found, More):
        assert found.wants
        assert all(w.node in pool.present for w in found.wants if w.purpose is Purpose.RERUN)


@given(st.integers(1, 9))
def test_confidence_grows_with_the_owners_who_agree(owners):
    assert confidence.agreement_ppm(owners) <= confidence.agreement_ppm(owners + 1) < confidence.PPM
    assert confidence.agreement_ppm(1) == confidence.PPM - confidence.LIAR_SHARE_PPM
