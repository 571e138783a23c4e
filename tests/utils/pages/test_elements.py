from faster_rcnn.utils.pages.elements import Cell, table


def test_table():
    text = table(
        ["class", ("AP", "in & out")],
        [["a<b", 0.5], ["c", float("nan")], ["d", Cell("1 to 2", 1.0, "good", "x")]],
        name="all",
        foot=["mean", 3],
        by_class=True,
    )
    assert '<tr data-class="a&lt;b"><td>a&lt;b</td>' in text
    assert '<td class="n" data-v="0.5">0.5000</td>' in text
    assert '<td class="n" data-v="">-</td>' in text
    assert '<td class="n good" data-v="1" title="x">1 to 2</td>' in text
    assert '<th scope=col class=n><button type=button title="in &amp; out">' in text
    assert text.count("<tfoot><tr><td>mean</td>") == 1
    assert "<tbody></tbody>" in table(["a"], [], name="none")
