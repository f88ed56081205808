"""The pictures of one or several folders of the user, each with an id."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.errors import InputError
from dataset import picture_files


class PictureFolders:
    """The pictures in folders and their subfolders.

    The id of a picture is its path relative to its folder, with slashes. Those of the second and later folders begin with
    the folder's name, and where that is taken with the end of its path, so that a folder added later changes no id.

    Args:
        folders: the folders; at least one.

    Raises:
        InputError: a folder is missing, or one is inside another.
    """

    def __init__(self, folders: Sequence[Path]):
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"--images {folder} is {'not a folder' if folder.exists() else 'missing'}")
        self.folders = list(folders)
        resolved = [folder.resolve() for folder in folders]
        for number, one in enumerate(resolved):
            for other in resolved[:number]:
                if one == other:
                    raise InputError(f"--images {folders[number]} is the folder {one}, which is given already: give it once")
                if one.is_relative_to(other) or other.is_relative_to(one):
                    raise InputError(f"--images {one} and {other} overlap: expected folders of which none holds another")
        self.prefixes = [""]
        for folder in resolved[1:]:
            parts = folder.parts[1:] or folder.parts
            ends = ("/".join(parts[-length:]) + "/" for length in range(1, len(parts) + 1))
            self.prefixes.append(next(end for end in ends if end not in self.prefixes))

    def __str__(self) -> str:
        return " and ".join(map(str, self.folders))

    def find(self) -> tuple[dict[str, str], list[tuple[str, str]], Counter[str]]:
        """Return the pictures, id ▶ path; (id, reason) of those that cannot be used; and suffix ▶ number of other files.

        Raises:
            InputError: there are no pictures, or two have the same id.
        """
        images: dict[str, str] = {}
        rejected: list[tuple[str, str]] = []
        others: Counter[str] = Counter()
        for folder, prefix in zip(self.folders, self.prefixes, strict=True):
            found = picture_files.find(folder)
            found.report()
            others += found.passed_over
            for relative in found.names:
                name = prefix + relative
                try:
                    name.encode()
                except UnicodeEncodeError:  # the file system allows any bytes; a record's id must be UTF-8
                    rejected.append((ascii(name), "the file's name is not UTF-8"))
                    continue
                if name in images:
                    raise InputError(
                        f"{images[name]} and {folder / relative} would both be called {name}: rename one folder"
                    )
                images[name] = str(folder / relative)
        if not images:
            suffixes = " ".join(sorted(picture_files.suffixes()))
            raise InputError(f"{self} contains no images: expected files named {suffixes}")
        return images, rejected, others
