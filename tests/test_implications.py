"""Rules about tags: learned from labels, edited by people, and obeyed by everything that is predicted."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import program, uncompiled
from PIL import Image

from benchmarks.implied import planted_labels
from common.errors import InputError
from dataset import implications, pipeline, records
from dataset.augmentation import Augmentation
from dataset.implications import IMPLIES, ONE_OF, Rule, closure, contradiction, groups_of, implied_pairs
from dataset.records import NUMBER, RATING, Tag
from dataset.relabel import relabel
from dataset.rule_proposals import TrainingLabels, learn, propose, wilson_bound
from inference import onnx_network
from inference.implied import ADD, CONSTRAIN, DROP, MODES
from inference.tagger import Tagger
from model import run_folder
from training.recipes import resolve

NUM_TAGS = 24


def tags_named(*names: str, category: int = 0) -> list[Tag]:
    return [Tag(index, name, category, 9) for index, name in enumerate(names)]


def tagger_of(tags: list[Tag], rules, thresholds) -> Tagger:
    run = run_folder.Run(Path(), resolve({}), tags, "", 64, 99, rules=rules)
    count = len(tags)
    return Tagger(run, SimpleNamespace(num_tags=count), np.float32(thresholds), np.ones(count, np.float32))


def random_tagger(random: np.random.Generator) -> Tagger:
    """Rules without circles and contradictions among tags with thresholds of their own."""
    names = [f"tag {index}" for index in random.permutation(NUM_TAGS)]
    pairs = {tuple(sorted(random.integers(NUM_TAGS, size=2).tolist())) for _ in range(15)}
    rules = [Rule(names[one], IMPLIES, names[other]) for one, other in pairs if one != other]
    for group, members in enumerate(np.split(random.permutation(NUM_TAGS)[:12], 4)):
        if not contradiction(closure(implied_pairs(rules)), [names[member] for member in members]):
            rules += [Rule(names[member], ONE_OF, f"group {group}") for member in members]
    return tagger_of(tags_named(*sorted(names)), tuple(rules), random.uniform(0.2, 0.8, NUM_TAGS))


def test_a_thousand_random_predictions_obey_random_rules_in_every_mode():
    random, corrected = np.random.default_rng(0), 0
    for _ in range(50):
        tagger = random_tagger(random)
        implied, groups = closure(implied_pairs(tagger.run.rules)), groups_of(tagger.run.rules)
        names = [tag.name for tag in tagger.run.tags]
        for probabilities in random.random((20, NUM_TAGS), np.float32):
            tags = {mode: tagger.choose(probabilities, implied=mode) for mode in MODES}
            over = {name for name, one, other in zip(names, probabilities, tagger.thresholds, strict=True) if one >= other}
            corrected += over != set(tags[ADD])
            for mode in (ADD, CONSTRAIN):
                for tag, value in tags[mode].items():
                    assert all(tags[mode][other] >= value for other in implied.get(tag, ()))
                first = list(tags[mode])[:3]  # as --top 3 gives them
                assert all(implied.get(tag, set()) <= set(first) for tag in first)
            for mode in MODES:
                assert all(len(set(members) & set(tags[mode])) <= 1 for members in groups.values())
            assert not any(tag in implied.get(other, ()) for tag in tags[DROP] for other in tags[DROP])
            assert set(tags[DROP]).union(*(implied.get(tag, ()) for tag in tags[DROP])) == set(tags[ADD])
            [constrained] = tagger.logic.constrained(probabilities[np.newaxis])
            value_of = dict(zip(names, constrained.tolist(), strict=True))
            assert all(value_of[tag] <= value_of[other] for tag, others in implied.items() for other in others)
            without = [not implied.get(name) and not any(name in others for others in implied.values()) for name in names]
            assert np.array_equal(constrained[without], probabilities[without])
    assert corrected > 500, "the rules would have been broken without this"


def test_the_best_of_a_group_stays_and_takes_what_implied_the_others_with_it():
    rules = [Rule("1girl", ONE_OF, "girls"), Rule("2girls", ONE_OF, "girls"), Rule("twins", IMPLIES, "2girls")]
    rules += [Rule("twins", IMPLIES, "siblings"), Rule("2girls", IMPLIES, "duo")]
    tags = tags_named("1girl", "2girls", "twins", "siblings", "duo")
    tagger = tagger_of(tags, tuple(rules), [0.5] * 5)
    probabilities = np.array([0.9, 0.2, 0.6, 0.1, 0.3], np.float32)
    assert tagger.choose(probabilities) == {"1girl": 0.9}
    assert set(tagger.choose(np.array([0.55, 0.2, 0.6, 0.1, 0.3], np.float32))) == {"2girls", "twins", "siblings", "duo"}


def test_a_dropped_tag_follows_from_one_that_is_written():
    rules = (Rule("kitten", IMPLIES, "cat"), Rule("cat", IMPLIES, "animal"))
    tagger = tagger_of(tags_named("animal", "cat", "kitten"), rules, [0.5] * 3)
    probabilities = np.array([0.1, 0.2, 0.9], np.float32)
    assert tagger.choose(probabilities, implied=DROP) == {"kitten": 0.9}
    assert tagger.choose(probabilities, implied=DROP, exclude={"kitten"}) == {"cat": 0.9}
    circle = [Tag(0, "a", 0, 9, ("b",)), Tag(1, "b", 0, 9, ("a",))]  # as e621 has them
    assert len(tagger_of(circle, None, [0.5] * 2).choose(np.float32([0.6, 0.7]), implied=DROP)) == 1


def test_planted_implications_are_learned_and_no_others():
    for pictures, recall in ((500, 0), (4000, 0.7), (20000, 0.97)):
        tags, labels, planted = planted_labels(pictures)
        learned = {(tag, other) for tag, others in closure(implied_pairs(learn(tags, labels))).items() for other in others}
        assert learned <= planted and len(learned) >= recall * len(planted), (pictures, len(learned))


def test_variants_of_a_picture_count_once():
    tags = tags_named("cat", "animal")
    apart = [(str(number), [0, 1]) for number in range(40)] + [(f"other {number}", []) for number in range(40)]
    variants = [(group if group.startswith("o") else str(int(group) % 5), picture) for group, picture in apart]
    assert len(learn(tags, TrainingLabels(apart, 2))) == 1 and not learn(tags, TrainingLabels(variants, 2))
    tones = [(str(number), [0, tone]) for number in range(60) for tone in (1, 2)]  # each picture in two skin tones
    assert TrainingLabels(tones, 3).together(0)[1].tolist() == [60, 30, 30]
    assert 0.90 < wilson_bound(1.0, 36) < 0.91 and wilson_bound(1.0, 0) == 0


def test_of_near_synonyms_one_direction_remains_and_what_all_have_needs_no_cause():
    tags = tags_named("feline", "cat", "picture", "kitten", "score", "rating:safe")
    tags = [*tags[:4], replace(tags[4], category=NUMBER), replace(tags[5], category=RATING)]
    pictures = [(str(number), [0, 1, 2, 4, 5]) for number in range(60)] + [("a", [1, 2, 4, 5])]
    pictures += [(f"k{number}", [0, 1, 2, 3, 4, 5]) for number in range(40)]
    pictures += [(f"o{number}", [2, 4, 5]) for number in range(40)]
    rules = learn(tags, TrainingLabels(pictures, 6))
    assert {(rule.tag, rule.other) for rule in rules} == {("feline", "cat"), ("kitten", "feline")}
    circle = [replace(tags[0], implies=("cat",)), replace(tags[1], implies=("feline",)), *tags[2:]]
    assert len(propose(circle, TrainingLabels(pictures, 6))) == 1


def test_groups_are_taken_only_where_the_labels_agree(capsys):
    tags = tags_named("1girl", "2girls", "solo", "duo", "1boy")
    pictures = [
        (str(number), [number % 2, 2 + number % 2] + [3] * (number < 20 and number % 2 == 0)) for number in range(100)
    ]
    rules = propose(tags, TrainingLabels(pictures, 5))
    assert groups_of(rules) == {"number of girls": ["1girl", "2girls"]}
    assert "solo, duo (10.0% of 100" in capsys.readouterr().err


def test_names_survive_both_tables(tmp_path):
    implies = [("long hair", "a"), ('["', "b"), ('["a"]',), ("[o_o]", "x"), (" lead",), ("猫 耳",), ('say "hi, you"', "z")]
    tags = [Tag(index, f"t {index}", 0, 3, names) for index, names in enumerate(implies)]
    records.write_tags(tmp_path / "tags.csv", tags)
    assert records.read_tags(tmp_path / "tags.csv") == tags
    (tmp_path / "tags.csv").write_text('tag_id,name,category,count,implies\n0,a,0,1,b ["c\n')  # of an earlier version
    assert records.read_tags(tmp_path / "tags.csv")[0].implies == ("b", '["c')
    rules = (Rule("t 0", IMPLIES, "t 1", 40, 1.0, 0.9124), Rule("t 2", ONE_OF, "a, b"), Rule("t 3", ONE_OF, "a, b"))
    implications.write(tmp_path, rules)
    assert implications.read(tmp_path, tags) == rules
    assert implications.read(tmp_path / "other", tags) is None


@pytest.mark.parametrize(
    "rows, words",
    [
        ("a,imply,b", "row 2: the relation has to be 'implies' or 'one of'. Received: 'imply'"),
        ("a,implies,b\n\nA,implies,b", "row 4: 'A' is not one of the 6 tags"),
        ("a,implies,b\nb,implies,c\nc,implies,a", "row 4: implications must not form a circle, c ▶ a ▶ b ▶ c"),
        ("a,implies,a", "row 2: implications must not form a circle, a ▶ a"),
        ("a,one of,girls", "row 2: the group 'girls' has one tag only"),
        ("a,one of,", "row 2: the group of 'a' has no name"),
        ("a,one of,x\nb,one of,x\nc,implies,a\nc,implies,b", "row 2: of 'x' at most one holds, but 'c' implies 'a' and 'b'"),
        ("score,implies,a", "row 2: 'score' is a column of numbers"),
        ("a,implies,rating:safe", "row 2: 'rating:safe' is a rating"),
        ("a,implies,b,many", "row 2: pictures, share and at_least have to be numbers"),
    ],
)
def test_a_mistake_in_an_edited_table_is_named_with_its_row(tmp_path, rows, words):
    tags = [*tags_named("a", "b", "c", "d"), Tag(4, "score", NUMBER, 9), Tag(5, "rating:safe", RATING, 9)]
    (tmp_path / implications.FILE).write_text(f"tag,relation,other,pictures\n{rows}\n", encoding="utf-8-sig")
    with pytest.raises(InputError) as error:
        implications.read(tmp_path, tags)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_table_without_its_header_is_named(tmp_path):
    (tmp_path / implications.FILE).write_text("a,implies,b\n")
    with pytest.raises(InputError, match="expected a header with tag,relation,other"):
        implications.read(tmp_path, tags_named("a", "b"))


def test_an_exported_run_obeys_the_same_rules(first_run, emoji_onnx, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs requirements-export.txt")
    run = run_folder.load(first_run)
    one, two, three = (tag.name for tag in run.tags[:3])
    rules = (Rule(one, IMPLIES, two), Rule(two, IMPLIES, three))
    model = onnx.load(emoji_onnx)
    columns = {index: index for index in range(len(run.tags)) if index != 1}  # what follows by way of a missing tag stays
    for kept, left in ((range(len(run.tags)), {}), (columns, {one: {three}})):
        facts = replace(run, rules=rules), np.full(12, 0.5), np.ones(12), {index: index for index in kept}, ""
        content = onnx_network.metadata(*facts)
        onnx.helper.set_model_props(model, {onnx_network.METADATA: content})
        onnx.save(model, tmp_path / "model.onnx")
        exported = Tagger.open(tmp_path / "model.onnx")
        assert closure(implied_pairs(exported.run.rules)) == (left or closure(implied_pairs(rules)))
    assert exported.choose(np.full(11, 0.6, np.float32), implied=DROP).keys() == {tag.name for tag in exported.run.tags} - {
        three
    }


def test_missing_implied_labels_are_the_same_whether_or_not_earlier_steps_were_run(emoji_data):
    implied = [[1, 2], [2], *([] for _ in range(10))]
    data = pipeline.TrainingData(emoji_data, 12, 32, "pad", 16, Augmentation(flip=False))
    plain, added = (
        np.stack([labels for _, labels in pipeline.training_batches(each, 0, 1)])
        for each in (data, replace(data, implied=implied))
    )
    assert (added[..., 1] == plain[..., :2].max(-1)).all() and (added[..., 2] == plain[..., :3].max(-1)).all()
    assert (added[..., 3:] == plain[..., 3:]).all() and (added != plain).any()
    resumed = [labels for _, labels in pipeline.training_batches(replace(data, implied=implied), 0, 1, first_step=2)]
    assert np.array_equal(np.stack(resumed), added[2:])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the data and the run of pictures of which one lacks a label that its others imply."""
    home = tmp_path_factory.mktemp("implied")
    (home / "pictures").mkdir()
    lines = ["id,tags,group"]
    for number in range(150):
        colours = hashlib.blake2b(str(number).encode(), digest_size=27).digest()
        image = Image.frombytes("RGB", (3, 3), colours).resize((24, 24), Image.Resampling.NEAREST)
        image.save(home / "pictures" / f"{number}.png")
        animal = "kitten animal" if number % 2 else "animal" if number % 4 else ""
        lines.append(f"{number}.png,{animal} {'1girl' if number % 3 else '2girls'},{number}")
    (home / "tags.csv").write_text("\n".join(lines))
    options = ("--images", home / "pictures", "--csv", home / "tags.csv", "--val", 10, "--test", 0, "--size", 24)
    done = program("download.py", "--board", "folder", *options, "--out", home / "data")
    assert done.returncode == 0, done.stderr
    assert "implications learned from the training labels: 1, such as kitten ▶ animal (100% of" in done.stderr
    labels = [dict(record.labels) for record in records.read(home / "data", "train")]
    names = [tag.name for tag in records.read_tags(home / "data" / "tags.csv")]
    del next(row for row in labels if names.index("kitten") in row)[names.index("animal")]
    relabel(home / "data", home / "one-missing", labels, {})
    options = ("--preset", "test", "--recipe", "lean", "--epochs", 1, "--optimizer", "sgd", "--close-implied", "--no-onnx")
    with uncompiled():
        done = program("train.py", "--data", home / "one-missing", *options, "--run", home / "run")
    assert done.returncode == 0 and "missing labels that others imply: 1, added to" in done.stderr, done.stderr
    return home


def test_the_table_goes_from_download_to_prediction_and_an_edit_holds_at_once(trained, tmp_path):
    table = (trained / "data" / implications.FILE).read_bytes()
    assert (trained / "run" / implications.FILE).read_bytes() == table
    rows = list(csv.DictReader(table.decode().splitlines()))
    rules = {(row["tag"], row["relation"], row["other"]) for row in rows}
    girls = {(tag, ONE_OF, "number of girls") for tag in ("1girl", "2girls")}
    assert rules == {("kitten", IMPLIES, "animal"), *girls}
    assert all(int(row["pictures"]) > 35 and row["share"] == "1.0" and 0.9 < float(row["at_least"]) < 1 for row in rows)

    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    picture = trained / "pictures" / "0.png"

    def tags(*options, code=0) -> dict:
        done = program("test.py", picture, "--run", run, "--threshold", *options, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)[0]["tags"] if not code else done.stderr

    (run / implications.FILE).write_text("tag,relation,other\n")
    free = tags(0)
    assert set(free) == {"kitten", "animal", "1girl", "2girls"}
    highest, *_, lowest = free
    (run / implications.FILE).write_bytes(table)
    assert len(tags(0)) == 3 and set(tags(0, "--implied", "drop")) == set(tags(0)) - {"animal"}
    (run / implications.FILE).write_text(f"tag,relation,other\n{highest},implies,{lowest}\n")
    only = str(free[highest])[:4]
    assert tags(only)[lowest] == tags(only)[highest] == free[highest]
    between = tags(0, "--implied", "constrain")
    assert free[lowest] < between[lowest] == between[highest] < free[highest]
    assert lowest not in tags(only, "--implied", "drop") and highest in tags(only, "--implied", "drop")
    (run / implications.FILE).write_text(f"tag,relation,other\n{highest},implies,dog\n")
    assert "implications.csv, row 2: 'dog' is not one of the 4 tags" in tags(0, code=1)
