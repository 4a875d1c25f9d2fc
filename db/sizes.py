"""Sizes of texts, as both databases tell them."""

from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, cast, func


def bytes_of(body: ColumnElement[Any], dialect: str) -> ColumnElement[int]:
    """How many bytes a text takes; 0 for none."""
    size = func.octet_length(body) if dialect == "postgresql" else func.length(cast(body, LargeBinary))
    return func.coalesce(size, 0)
