"""What has changed in a user's own folder since a data folder was made from it."""

import csv
from pathlib import Path

from dataset import corrections, records
from dataset.boards import picture_source
from dataset.build.selection import Selection


def changes(selection: Selection, folder: Path, manifest: dict) -> str:
    """Return in words what the user's folder has now and a complete data folder has not; empty if they agree.

    Args:
        selection: the tags and pictures that would be selected now.
        folder: the data folder.
        manifest: its manifest.
    """
    sources = {entry.post.id: entry.post.source for entries in selection.entries.values() for entry in entries}
    made = (folder / "manifest.json").stat().st_mtime
    newer = {name for name, path in sources.items() if picture_source.is_newer(path, made)}
    if manifest["selection"] == selection.digest and not newer:
        return ""
    names = [tag.name for tag in records.read_tags(folder / "tags.csv")]
    stored, md5s = {}, {}
    for split in manifest["splits"]:
        for record in records.read(folder, split) if any(folder.glob(f"{split}-*.tfrecord")) else ():
            stored[record.id] = {names[tag]: round(label, 4) for tag, label in record.labels.items()}
            md5s[record.id] = record.md5
    with (folder / "quarantine.csv").open(newline="", encoding="utf-8") as file:
        quarantined = {row["id"] for row in csv.DictReader(file)}
    decisions = corrections.Decisions(corrections.read_table(corrections.table_path(folder)))
    rows = corrections.correctable(selection.tags, selection.categories)
    now = {}
    for entry in (entry for entries in selection.entries.values() for entry in entries):
        decided = decisions.decided_about(entry.post.id, md5s.get(entry.post.id, entry.post.md5))
        labels = corrections.corrected_labels(entry.labels or dict.fromkeys(entry.tags, 1.0), decided, rows)
        now[entry.post.id] = {selection.tags[tag]: round(label, 4) for tag, label in labels.items()}
    replaced = {name for name in newer & stored.keys() if picture_source.md5(sources[name]) != md5s[name]}
    kinds = {
        "new": now.keys() - stored.keys() - quarantined,
        "left out now": stored.keys() - now.keys(),
        "tagged otherwise": {name for name in now.keys() & stored.keys() if now[name] != stored[name]},
        "another picture under the same name": replaced,
    }
    return ", ".join(f"{len(ids):,} {kind} (such as {min(ids)})" for kind, ids in kinds.items() if ids)
