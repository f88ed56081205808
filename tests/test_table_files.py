"""Tables of posts that cannot be read as a file: one line names the file, the line, what was expected and what to do."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from conftest import program
from written_collections import Drawn

from common.errors import InputError
from dataset.boards import table_files
from dataset.boards.board import Settings, open_board

ROWS = [{"id": number, "tag_string": f"red t{number}", "rating": "s"} for number in range(1, 13)]
CSV = "id,tag_string,rating\n" + "".join(f"{number},red t{number},s\n" for number in range(1, 13))
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def as_parquet(columns: dict | None = None) -> bytes:
    out = io.BytesIO()
    chance = np.random.default_rng(0)
    table = pa.table(columns or {"id": range(40_000), "tag_string": [str(each) for each in chance.random(40_000)]})
    parquet.write_table(table, out, row_group_size=10_000)
    return out.getvalue()


PARQUET = as_parquet()
HALF = len(PARQUET) // 2
GZIP = gzip.compress(CSV.encode())
DAMAGED = {
    "cut.parquet": (PARQUET[:-100], "is no complete Parquet file: copy or download it again"),
    "middle.parquet": (PARQUET[:HALF] + bytes(3000) + PARQUET[HALF + 3000 :], "is damaged after row .*: copy or download"),
    "empty.parquet": (b"", "empty.parquet is empty: copy or download it again"),
    "no_rows.parquet": (as_parquet({"id": pa.array([], pa.int64()), "tags": pa.array([], pa.string())}), "has no rows"),
    "surplus.csv": (
        CSV.replace("5,red t5", "5,red, t5"),
        r"surplus.csv, line 6: expected 3 cells .* received 4: '5,red, t5",
    ),
    "missing.csv": (CSV.replace("5,red t5,s", "5,red t5"), "missing.csv, line 6: expected 3 cells .* received 2"),
    "quote.csv": (CSV.replace("5,red t5", '5,"red t5'), "line 6: expected 3 cells .* the quotes must end"),
    "last_quote.csv": (CSV.replace("5,red t5,s", '5,red t5,"s'), "last row has a cell that starts with a quote"),
    "breaks.csv": (
        CSV.replace("3,red t3", '3,"red\nt3"').replace("5,red t5", "5,red, t5"),
        "breaks.csv, line 7: expected 3",
    ),
    "large.csv": (f'{CSV}13,"{"x " * 200_000}",s,3\n', "large.csv, line 14: expected 3 cells .* received 4"),
    "empty.csv": (b"", "empty.csv is empty: expected a line with the names of the columns"),
    "header.csv": (CSV[:21], "header.csv has no rows"),
    "latin.csv": (CSV.replace("t5", "té").encode("latin-1"), "latin.csv, line 6 is not UTF-8: save the file as UTF-8"),
    "utf16.csv": (CSV.encode("utf-16"), "utf16.csv is not UTF-8: save it as UTF-8"),
    "cut.csv.gz": (GZIP[:-12], "cut.csv.gz is cut short, or is no gzip file: copy or download it again"),
    "not.csv.gz": (CSV, "is no gzip file"),
    "cut.jsonl": (LINES[:-20], 'cut.jsonl, line 12: expected one JSON object .* received \'{"id": 12.*; correct or delete'),
    "middle.jsonl": (LINES.replace('{"id": 4', 'hello {"id": 4'), "middle.jsonl, line 4: expected one JSON object"),
    "number.jsonl": (LINES + "3\n", "line 13: expected one JSON object on each line, received '3'"),
    "array.json": (json.dumps(ROWS), "line 1: expected one JSON object .*; jq -c '.\\[\\]' makes such lines"),
    "printed.json": (json.dumps(ROWS, indent=1), "line 1: expected one JSON object .*jq"),
    "empty.jsonl": (b"\n", "empty.jsonl is empty: expected one JSON object on each line"),
    "latin.jsonl": (LINES.replace("t5", "té").encode("latin-1"), "line 5 is not UTF-8: save the file as UTF-8"),
    "nothing.jsonl": ("{}\n", "expected columns named id or post_id and tag_string or tags"),
    "half.jsonl": (LINES.replace("t5", "\\ud800"), "line 5 is not UTF-8"),
    "repeated.csv": (CSV.replace("rating", "tag_string"), "has 2 columns named tag_string: rename or remove all but one"),
    "Repeated.csv": (CSV.replace("rating", "ID"), "has 2 columns named id"),
    "no_id.csv": (
        CSV.replace("id,", "number,"),
        "no_id.csv: expected columns named id or post_id.*Received: number, tag_str",
    ),
    "no_tags.jsonl": (LINES.replace("tag_string", "text"), "expected columns named tag_string or tags.*Received: id, text"),
    "objects.jsonl": (
        '{"id": 1, "tags": {"general": ["red"]}}\n',
        "1 tags that cannot be read.*1.png: its tags are .* an object",
    ),
    "object.parquet": (
        as_parquet({"id": [{"a": 1}], "tags": ["red"]}),
        "expected text or numbers in the column id. Received",
    ),
    "posts.parquet.gz": (gzip.compress(PARQUET), "expected a table named .parquet, .jsonl, .json or .csv"),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder with a picture for each of the rows."""
    folder = tmp_path_factory.mktemp("pictures")
    for row in ROWS:
        (folder / f"{row['id']}.png").write_bytes(Drawn(row["id"], []).png())
    return folder


def ids(table: Path, pictures: Path) -> set[str]:
    return {post.id for post in open_board("table", Settings([pictures], table)).posts()}


@pytest.mark.parametrize("name", DAMAGED)
def test_one_line_says_what_is_wrong_and_what_to_do(name, pictures, tmp_path):
    content, message = DAMAGED[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as raised:
        ids(tmp_path / name, pictures)
    assert "\n" not in str(raised.value) and str(tmp_path / name) in str(raised.value)


def test_a_cell_may_end_with_a_line_break(pictures, tmp_path):
    table = tmp_path / "posts.csv"
    for content in (
        'id,tags\n1,"red\n"\n2,"sky\n"\n',
        'id,tags\n1,red\n2,"sky\nhat\n"',
        'tags,id\n"red\n",1\n"sky\n",2\n',
        'id,tags,note\n1,red,x\n2,"sky\n",y\n',
    ):
        table.write_text(content)
        assert ids(table, pictures) == {"1.png", "2.png"}


def test_a_folder_names_the_file(pictures, tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(InputError, match=r"contains no files named \.parquet"):
        ids(tmp_path, pictures)
    (tmp_path / "a.parquet").write_bytes(as_parquet({"id": [1], "tags": ["red"]}))
    assert ids(tmp_path, pictures) == {"1.png"}
    (tmp_path / "b.parquet").write_bytes(as_parquet({"number": [1], "tags": ["red"]}))
    with pytest.raises(InputError, match=r"b\.parquet: expected columns named id"):
        ids(tmp_path, pictures)


def test_a_program_ends_with_that_line(pictures, tmp_path):
    (tmp_path / "posts.csv").write_text(CSV.replace("5,red t5", "5,red, t5"))
    done = program(
        "download.py", "--board", "table", "--table", tmp_path / "posts.csv", "--images", pictures, "--out", tmp_path
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(
        f"error: {tmp_path}/posts.csv, line 6: expected 3"
    )


@pytest.mark.parametrize("block_bytes", [64, 2**23])
def test_columns_of_json_lines_may_begin_or_change_their_kind_later(pictures, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(table_files, "BLOCK_BYTES", block_bytes)
    rows = [dict(row) for row in ROWS]
    rows[4]["id"], rows[5]["id"], rows[6]["tag_string"] = "5", 6.0, ["red", "blue sky"]
    del rows[0]["rating"], rows[1]["tag_string"]
    rows[8]["is_deleted"] = True
    rows[9] |= {"is_deleted": "no", "score": {"total": 3}}
    table = tmp_path / "posts.jsonl"
    table.write_text("\ufeff" + "\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    assert ids(table, pictures) == {f"{number}.png" for number in range(1, 13)} - {"2.png", "9.png"}
