"""The table of training data."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, text

from db.tables.base import BigId, metadata, text_column

marks = Table(
    "marks",
    metadata,
    # The answer that is said to be good, or not; it stays for as long as it is marked.
    Column("answer_id", BigId, primary_key=True, autoincrement=False),
    # The line that it was marked by: the question it is exported with, which stays as well.
    Column("request_id", BigInteger, nullable=False),
    # 0 to 5, 5 is best; NULL = not rated.
    Column("rating", Integer),
    Column("verified", Boolean, nullable=False, server_default=text("false")),
    # `,one,two,`; "" = none.
    text_column("tags"),
    text_column("marked_by"),
    Column("marked_ms", BigInteger, nullable=False),
)
Index("ix_marks_worth", marks.c.verified, marks.c.rating, marks.c.answer_id)
Index("ix_marks_marked_ms", marks.c.marked_ms, marks.c.answer_id)
