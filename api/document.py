"""The OpenAPI document: what FastAPI makes of the routes, and what those say that read their bodies themselves."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from api.direct_shapes import Wishes

REFERENCE = "#/components/schemas/{model}"


def complete(app: FastAPI) -> None:
    """Have an app tell also of those objects that no route of it names as its body or answer."""
    made_of_routes = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made_of_routes()
            _, more = models_json_schema([(Wishes, "validation")], ref_template=REFERENCE)
            schemas = document["components"]["schemas"]
            document["components"]["schemas"] = dict(sorted({**more["$defs"], **schemas}.items()))
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's manual has it
