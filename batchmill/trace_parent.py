"""The span that somebody else has opened around a request, as they told it over HTTP.

Apart from `tracing`, as whoever takes it down need not know whether anything is traced.
"""

from contextvars import ContextVar

trace_parent: ContextVar[str] = ContextVar("trace_parent", default="")
"""The header `traceparent` (W3C Trace Context) of the HTTP request that the task is at work for; "" without one."""
