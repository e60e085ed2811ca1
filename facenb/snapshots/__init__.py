"""Snapshots of people who do not exist, with the truth about each (book: *It learns*)."""

from facenb.snapshots.snapshot import (
    BLOCK,
    GENERATOR,
    Snapshot,
    SnapshotTruth,
    render_snapshot,
    render_snapshots,
)

__all__ = ["BLOCK", "GENERATOR", "Snapshot", "SnapshotTruth", "render_snapshot", "render_snapshots"]
