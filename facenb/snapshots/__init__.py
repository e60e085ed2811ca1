"""Snapshots of people who do not exist, with the truth about each (book: *It learns*)."""

from facenb.snapshots.snapshot import GENERATOR, Snapshot, SnapshotTruth, five_points, render_snapshot

__all__ = ["GENERATOR", "Snapshot", "SnapshotTruth", "five_points", "render_snapshot"]
