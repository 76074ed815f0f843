"""Compare two versions of the code in live processes that take turns; docs/method.md describes the method."""
