"""Stage one: runs the teacher once and writes what it knew to a dump."""

import schemas

if getattr(schemas, "PROJECT", None) != "potstill":
    raise ImportError(
        f"the package 'schemas' that Python found at {schemas.__file__} is not potstill's: "
        "it shadows ours. Run from another folder, or take that path out of PYTHONPATH."
    )
