"""The page about the client shows what there is."""

import ast
import re
from pathlib import Path

import batchmill
from batchmill import Batch, Client, Result
from batchmill.client.views import GeneratedText, Quote

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "python-client.md"
NAMES = {"client": Client, "batch": Batch, "result": Result, "quote": Quote, "answer": GeneratedText}
CODE = "\n".join(
    re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)


def test_its_code_is_python_and_names_what_is_there():
    """Every attribute that the page shows exists, and so does every argument of a method."""
    for node in ast.walk(ast.parse(CODE)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in NAMES:
            kind = NAMES[node.value.id]
            assert hasattr(kind, node.attr) or node.attr in kind.__annotations__, (
                f"{kind.__name__}.{node.attr}"
            )


def test_its_errors_are_there():
    """Each that the page names can be imported."""
    named = set(re.findall(r"`([A-Z][A-Za-z]+Error)`", PAGE.read_text(encoding="utf-8")))
    assert named > {"BatchFailedError", "ServiceUnreachableError"}
    assert named <= set(batchmill.__all__)
