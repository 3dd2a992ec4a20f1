"""A verb: how many clips bear a label."""

from patchlake.tasks.lake import open_lake
from patchlake.tasks.lake.tables import Tables


def tally(lake: str, label: str = "") -> None:
    """Count the clips of a label."""
    rows = Tables(open_lake(lake).location).clips.rows()
    print(f"{sum(row['label'] == label for row in rows)} clips of {label}")
