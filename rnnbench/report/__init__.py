"""What the results say: as tables, and as a page in asv's dashboard."""
