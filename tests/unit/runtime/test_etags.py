import pytest

from shared.runtime.etags import listed


@pytest.mark.parametrize(
    ("header", "weakly", "strongly"),
    [
        (['"a"'], True, True),
        (["*"], True, True),
        ([" * "], True, True),
        (['"b", "a"'], True, True),
        (['"b"', '"a"'], True, True),
        (['"b","a"'], True, True),
        (['W/"a"'], True, False),
        (['"b", W/"a"'], True, False),
        (['"a, b"'], False, False),
        (['"b"'], False, False),
        (["a"], False, False),
        (['"A"'], False, False),
        (['"*"'], False, False),
        ([""], False, False),
        ([], False, False),
    ],
)
def test_a_tag_is_found_in_a_list_weak_or_strong(header: list[str], weakly: bool, strongly: bool) -> None:
    assert listed(header, '"a"') is weakly
    assert listed(header, '"a"', strong=True) is strongly


def test_a_comma_inside_a_tag_is_part_of_it() -> None:
    assert listed(['"x,y", "z"'], '"x,y"')
    assert not listed(['"x,y"'], '"y"')
