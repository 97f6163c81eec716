"""The reliability suite: campaigns of faults against dumps, at three sizes.

`campaigns.py` shows all of them on one screen; `scripts/reliability` runs them and writes
docs/reliability.md's table; `test_campaigns.py` runs the size for pull requests.
"""
