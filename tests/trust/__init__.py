"""Checks that count: many generated cases of one claim each; `python -m trust` with tests/ on the path runs them."""
