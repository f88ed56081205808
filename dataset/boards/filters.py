"""Which posts of a board are eligible, and why the others are left out."""

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from dataset.boards.visibility import ratings_of
from dataset.tag_names import TagNames

EXCLUDED_BY_DEFAULT = ("comic",)  # by the board e621
# Why a post is left out, in the order in which this is decided.
REASONS = (
    OTHER_RATING := "another rating",
    NOT_PUBLIC := "deleted or pending",
    NO_PICTURE := "video, Flash or another kind of file",
    UNREADABLE := "rows that cannot be read",
    OUTSIDE_DATES := "outside the dates",
    LOWER_SCORE := "a lower score",
    HIDDEN := "tagged young with a rating other than safe",
    EXCLUDED := "an excluded tag",
    TOO_FEW_TAGS := "too few tags",
)


@dataclass(frozen=True)
class Filters:
    """Which posts are eligible. Restricted posts never are, whatever the filters.

    Attributes:
        ratings: letters of the board e621, or names of `records.RATINGS` for collections of the user; none: all.
        exclude: tags that a post must not have, neither directly nor through aliases and implications; with spaces or
            underscores, and patterns such as `comic*`.
        min_score, min_tags: smallest score of a post, and smallest number of its tags.
        after, before: the first day, and the day after the last, for example 2024-12-31; empty: no limit.
        typed: those of `exclude` that the board has to know.
    """

    ratings: list[str] = field(default_factory=lambda: ["s"])
    exclude: list[str] = field(default_factory=lambda: list(EXCLUDED_BY_DEFAULT))
    min_score: int | None = None
    min_tags: int = 0
    after: str = ""
    before: str = ""
    typed: tuple[str, ...] = ()

    @classmethod
    def asked(
        cls, board: str, ratings: Collection[str], exclude: TagNames, by_default: bool, **limits: Any
    ) -> "Filters | None":
        """Return the filters for what a user asks of a board; None if every post that may be used is.

        Args:
            board: its name. Of e621, only safe posts without comic are eligible unless the user asks for others.
            ratings: letters or names; none: the board's default.
            exclude: the tags to exclude.
            by_default: whether e621's default exclusions hold.
            limits: min_score, min_tags, after and before; None: no limit.

        Raises:
            InputError: e621 has no such rating.
        """
        is_e621 = board == "e621"
        filters = cls(
            ratings=ratings_of(ratings or (["s"] if is_e621 else []), is_e621),
            exclude=sorted({*exclude.typed, *exclude.listed, *(EXCLUDED_BY_DEFAULT if is_e621 and by_default else ())}),
            **{name: value for name, value in limits.items() if value is not None},
        )
        return filters if is_e621 or filters != cls(ratings=[], exclude=[]) else None

    def as_recorded(self) -> dict:
        """Return the filters for a manifest: what they select, not how the user wrote it."""
        return {name: value for name, value in asdict(self).items() if name != "typed"}

    def names_to_exclude(self) -> TagNames:
        """Return what the board's tags are compared with."""
        return TagNames(self.typed, tuple(name for name in self.exclude if name not in self.typed))

    def what_is_left(self, num_rows: int, skipped: Counter) -> str:
        """Return how many of all rows are left after each filter, in their order.

        Args:
            num_rows: number of rows of the export.
            skipped: reason ▶ number of rows left out by the filters.
        """
        names = ", ".join(self.exclude[:3]) + (", …" if len(self.exclude) > 3 else "")
        options = {
            OTHER_RATING: f"--ratings {' '.join(self.ratings)}",
            OUTSIDE_DATES: " ".join(f"--{name} {day}" for name in ("after", "before") if (day := getattr(self, name))),
            LOWER_SCORE: f"--min-score {self.min_score}",
            EXCLUDED: f"--exclude {names}",
            TOO_FEW_TAGS: f"--min-tags {self.min_tags}",
        }
        parts = []
        for reason in REASONS:
            if skipped[reason]:
                num_rows -= skipped[reason]
                parts.append(f"{num_rows:,} after {options.get(reason, f'leaving out {reason}')}")
        return ", ".join(parts)
