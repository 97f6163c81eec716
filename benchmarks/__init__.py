"""Runnable comparisons; README quotes only what they print."""
