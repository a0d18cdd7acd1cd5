"""Names of public classes."""

import ast
import collections
import pathlib

import imsgate

PACKAGE = pathlib.Path(imsgate.__file__).parent
#: Names that several public classes may have; there should be none.
ALLOWED = frozenset()


def test_no_two_public_classes_have_the_same_name():
    """A name that a search finds twice makes a reader look in the wrong place."""
    places = collections.defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    repeated = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert repeated.keys() == ALLOWED, repeated
