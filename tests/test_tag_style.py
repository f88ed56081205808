"""Tags that a user names, and the form in which predicted tags are written."""

import pytest
from hypothesis import given, strategies

from common.errors import InputError
from dataset.tag_names import TagNames
from inference.tag_style import Style, parse_replacements


def test_tags_are_written_as_asked():
    tags = {"long_hair": 0.9, "o_o": 0.8, "cat_(animal)": 0.7, "bad": 0.6, "^_^": 0.5}
    style = Style(exclude=frozenset({"bad"}), replace={"long_hair": "hair"}, prefix=("best quality",))
    assert list(style.apply(tags)) == ["best quality", "hair", "o_o", "cat_(animal)", "^_^"]
    style = Style(
        frozenset({"o_o"}), {"long_hair": "hair"}, 2, ("a_(b)", "hair"), ("z_z", "a_(b)"), spaces=True, escape=True
    )
    assert style.apply(tags) == {"a_(b)": 1, "hair": 0.9, r"cat \(animal\)": 0.7, "z_z": 1}
    assert Style(replace={"o_o": "face", "^_^": "face", "bad": "long_hair"}).apply(tags) == {
        "long_hair": 0.9,
        "face": 0.8,
        "cat_(animal)": 0.7,
    }
    assert list(Style(spaces=True, escape=True, by_name=True).apply(tags)) == [
        "^_^",
        "bad",
        r"cat \(animal\)",
        "long hair",
        "o_o",
    ]


def test_faces_are_replaced_whole():
    known = {"=_=", "long_hair", "a", "a=b"}
    assert parse_replacements(["=_==sleepy", "long hair=hair=s", "a=b=c"], known) == {
        "=_=": "sleepy",
        "long_hair": "hair=s",
        "a=b": "c",
    }
    with pytest.raises(InputError, match="-_- is not one of"):
        parse_replacements(["-_-=face"], known)


def test_names_of_tags_are_typed_listed_or_patterns(tmp_path, capsys):
    (tmp_path / "list.txt").write_bytes("\ufefflong hair\r\n\n*_eyes\nunheard of\n@_@\n".encode())
    names = TagNames.read(["-_-", "@_@", f"@{tmp_path / 'list.txt'}", "cat*"])
    known = ["-_-", "@_@", "long_hair", "red_eyes", "blue_eyes", "cat", "cat_ears", "dog"]
    assert names.among(known, "--exclude") == {*known} - {"dog"}
    assert "1 names are not known, such as unheard of" in capsys.readouterr().err
    assert TagNames(("*s",)).among(known, "") == {"red_eyes", "blue_eyes", "cat_ears"}
    for typed, words in (
        ("comicc", "did you mean comic"),
        ("*_*", "not one"),
        ("x*", "not one of the 1 tags"),
        ("@nothing.txt", "No such file"),
    ):
        with pytest.raises(InputError, match=words):
            TagNames.read([typed]).among(["comic"], "--exclude")


@given(strategies.dictionaries(strategies.text(min_size=1), strategies.floats(0, 1)))
def test_a_plain_style_changes_nothing(tags):
    assert list(Style().apply(tags).items()) == list(tags.items())
