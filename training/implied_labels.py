"""Training labels that are missing although other labels imply them, which `train.py --close-implied` adds.

The shards stay as they are. Each batch of labels is completed when it is made, by the rules alone, so that a resumed run
gets the labels of an uninterrupted one.
"""

from dataclasses import replace

from common.errors import InputError, say
from dataset import records
from dataset.implications import implied_indices
from training.plan import Plan


def with_implied_labels(plan: Plan) -> Plan:
    """Return the plan with the rules by which labels are added, if its configuration asks for them, and say how many are.

    Raises:
        InputError: there are no rules.
    """
    if not plan.run.config.close_implied:
        return plan
    implied = implied_indices(plan.run.tags, plan.run.rules)
    if not any(implied):
        raise InputError(
            f"--close-implied: no tag of {plan.data} implies another: leave it out, or edit implications.csv there"
        )
    added = labels = 0
    for record in records.read(plan.data, "train"):
        present = set(record.tags)
        added += len({other for tag in present for other in implied[tag]} - present)
        labels += len(present)
    say(f"missing labels that others imply: {added:,}, added to {labels:,} training labels")
    return replace(plan, implied=implied)
