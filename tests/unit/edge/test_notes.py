from stream.edge.notes import REPEAT_S, TEXTS_MAX, Notes


def test_the_same_line_comes_once_in_a_while() -> None:
    now = [0.0]
    said: list[tuple[str, str]] = []
    notes = Notes(lambda kind, text: said.append((kind, text)), lambda: now[0])
    notes("kafka", "broker: refused (after 0ms in state CONNECT)")
    notes("kafka", "broker: refused (after 12ms in state CONNECT)")
    notes("kafka", "another")
    notes("registry", "another")
    assert [text for _, text in said] == ["broker: refused (after 0ms in state CONNECT)", "another", "another"]
    now[0] = REPEAT_S
    notes("kafka", "another")
    assert len(said) == 4


def test_what_was_said_is_forgotten_before_it_becomes_much() -> None:
    notes = Notes(lambda _kind, _text: None, lambda: 0.0)
    for number in range(3 * TEXTS_MAX):
        notes("kafka", str(number))
    assert len(notes._said_s) <= TEXTS_MAX
