from faster_rcnn.utils.tables import aligned


def test_first_column_to_the_left_the_others_to_the_right():
    rows = [["class", "n", ""], ["a", "100", ""]]
    assert aligned(rows) == ["class    n", "a      100"]


def test_a_long_name_loses_its_middle_and_widens_nothing():
    names = [f"{'x' * 150}{end}" for end in "ab"]
    lines = aligned([["class", "n"], *([name, "1"] for name in names)])
    assert {len(line) for line in lines} == {43}
    assert "..." in lines[1] and lines[1] != lines[2]


def test_control_characters_are_escaped():
    assert aligned([["a\n\x1b[m", "1"]]) == [r"a\n\x1b[m  1"]
