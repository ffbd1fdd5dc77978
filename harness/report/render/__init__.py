"""The formats of a report: each draws the same document."""
