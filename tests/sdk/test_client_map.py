def square(x):
    return x * x


def test_answers_come_in_order_with_what_is_known_about_them(hub):
    answers = list(hub.map(square, range(50)))
    assert [a.value for a in answers] == [n * n for n in range(50)]
    assert [a.index for a in answers] == list(range(50))
    assert all(a.final and a.confidence > 0.99 and a.cost == 0 and a.error is None for a in answers)
    assert repr(answers[3]) == "<Answer 3: value=9, confidence 99.9999 %>"
