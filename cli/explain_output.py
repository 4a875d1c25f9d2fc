"""How it is shown who would answer a request, and what has become of one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from batchmill.money.nanos import format_usd, usd_text
from batchmill.requests.ids import place_of
from batchmill.routing.filters import WhyNot
from batchmill.routing.path import Step
from batchmill.routing.selection import Considered, Selection
from cli.output import counted, in_one_line, print_json, print_table
from workers.explaining import History, LinePlan, Link, Plan, Turn
from workers.views import circuit_view, time_text

Row = Mapping[str, object]


def show_line(found: LinePlan, source: str, as_json: bool) -> None:
    """Print what would become of a line of an input."""
    line = found.line
    if as_json:
        print_json(_line_as_json(found))
        return
    heading = [("request", f"{line.custom_id}, line {line.line:,} of {source}")]
    _print_lines([*heading, *_about(found.plan), *_outcome(found.plan, found.refused)])
    _print_tables(found.plan)


def show_history(found: History, as_json: bool) -> None:
    """Print what has become of a request, and what comes next."""
    if as_json:
        print_json(_history_as_json(found))
        return
    plan = found.plan
    coming = [*_about(plan), *_outcome(plan, "")] if plan is not None else [("asks for", found.asked.name)]
    _print_lines([*_state(found), *coming])
    if found.calls:
        click.echo()
        print_table([_call_as_row(call) for call in found.calls])
    if found.path.steps:
        click.echo()
        print_table([_step_as_row(step) for step in found.path.steps])
    if found.path.dropped:
        click.echo(f"not shown: {counted(found.path.dropped, 'step')} in between")
    if plan is not None:
        _print_tables(plan)


def _print_lines(lines: Sequence[tuple[str, str]]) -> None:
    told = [(name, text) for name, text in lines if text]
    width = max(len(name) for name, _ in told)
    for name, text in told:
        click.echo(f"{name.ljust(width)}  {in_one_line(text)}")


def _print_tables(plan: Plan) -> None:
    rows = _selection_rows(plan, plan.selection) if plan.selection else list(map(_link_as_row, plan.chain))
    if rows:
        click.echo()
        print_table(rows)


def _state(found: History) -> Iterator[tuple[str, str]]:
    row, batch = found.row, found.batch
    yield "request", f"{row.custom_id}, line {row.line:,} of {batch.public_id}"
    yield "batch", f"{batch.state}: {batch.paused_reason}" if batch.paused_reason else str(batch.state)
    yield "state", _state_in_words(found)
    if found.answered_by is not None:
        yield "answer", f"of {found.answered_by.name}{', from the cache' if found.is_from_cache else ''}"
    if row.error_code:
        yield "error", f"{row.error_code}: {row.error_message}"


def _state_in_words(found: History) -> str:
    row = found.row
    if row.state == "waiting":
        return "waiting for the answer to another request that asks the same"
    if row.next_run_ms is None or found.plan is None:
        return str(row.state)
    again = f", after {row.retry_reason}" if row.retry_reason else ""
    return f"{row.state}, to be taken up from {time_text(row.next_run_ms)} on{again}"


def _about(plan: Plan) -> Iterator[tuple[str, str]]:
    """What a request asks for, and what it is taken to be."""
    yield "asks for", f"{plan.asked.name} at {plan.endpoint}"
    if plan.selection is None:
        return
    question = plan.selection.question
    yield "complexity", f"{question.assessment.complexity}: {question.assessment.why}"
    yield "quality", f"{question.assessment.floor:.2f} at least"
    chosen_from = plan.selection.tier or ("none fits" if question.rule.preferred else "any")
    yield "tier", f"{chosen_from}: {question.rule.why}"
    if question.rule.cap is not None:
        yield "user's tier", f"{question.rule.cap} at most"
    needs: list[str] = [*sorted(question.needs.capabilities)]
    if question.needs.output_tokens is not None:
        needs.append(f"answers of {question.needs.output_tokens:,} tokens")
    yield "needs", ", ".join(needs)
    if question.max_latency_ms is not None:
        yield "latency", f"{question.max_latency_ms:,} ms at most"


def _outcome(plan: Plan, refused: str) -> Iterator[tuple[str, str]]:
    """Who is asked; or from when on somebody is, or why nobody is."""
    if refused:
        yield "refused", f"`batchmill run` does not take it in: {refused}"
    elif plan.next is not None:
        yield "next", plan.next.target.name
    elif plan.fault is not None:
        yield "nobody", plan.fault.message
    else:
        yield "waits", f"until {time_text(plan.free_at_ms)}: whoever could answer it rests until then"


def _link_as_row(link: Link) -> Row:
    resting = link.resting
    return {
        "model": link.target.name,
        "turn": _words(link.turn),
        "named_by": link.whose,
        "circuit": f"{resting.state.replace('_', '-')} until {time_text(resting.until_ms)}"
        if resting
        else "closed",
        "why": link.why_not or (resting and (resting.reason or resting.cause)) or None,
    }


def _selection_rows(plan: Plan, selection: Selection) -> list[Row]:
    links = {link.target: link for link in plan.chain}
    return [
        {
            "model": considered.model.name,
            "turn": _words(_turn(links, considered)),
            "quality": considered.model.quality,
            "tier": considered.model.tier,
            "latency_ms": considered.latency_ms,
            "known_from": considered.latency_source,
            "expected": _usd(considered.expected_nanos),
            "why": _why(links, considered),
        }
        for considered in (*selection.candidates, *selection.rejected)
    ]


def _turn(links: Mapping[Any, Link], considered: Considered) -> Turn:
    if considered.target in links:
        return links[considered.target].turn
    return Turn.RESTS if considered.why_not is WhyNot.CIRCUIT else Turn.OUT


def _why(links: Mapping[Any, Link], considered: Considered) -> str:
    link = links.get(considered.target)
    return (link.why_not if link else "") or considered.reason


def _call_as_row(call: Any) -> Row:
    return {
        "call": call.number,
        "model": f"{call.provider}/{call.model}",
        "state": call.state,
        "reason": call.reason,
        "sent": time_text(call.sent_ms),
        "ended": time_text(call.ended_ms),
        "error": call.error or None,
        "cost": _usd(call.cost_nanos),
    }


def _step_as_row(step: Step) -> Row:
    return {
        "path": step.target.name,
        "what": step.what,
        "at": time_text(step.at_ms),
        "times": step.count,
        "why": step.why or None,
    }


def _words(turn: Turn) -> str:
    return turn.replace("_", " ")


def _usd(nanos: int | None) -> str | None:
    return None if nanos is None else format_usd(nanos)


def _usd_text(nanos: int | None) -> str | None:
    return None if nanos is None else usd_text(nanos)


def _line_as_json(found: LinePlan) -> dict[str, Any]:
    return {
        "custom_id": found.line.custom_id,
        "line": found.line.line,
        "can_be_answered": found.can_be_answered,
        "refused": found.refused or None,
        "plan": _plan_as_json(found.plan),
    }


def _history_as_json(found: History) -> dict[str, Any]:
    row = found.row
    return {
        "custom_id": row.custom_id,
        "line": row.line,
        "batch_id": found.batch.public_id,
        "batch_state": found.batch.state,
        "place": place_of(row.id),
        "state": row.state,
        "next_run_at": time_text(row.next_run_ms),
        "asked": found.asked.name,
        "answered_by": found.answered_by.name if found.answered_by else None,
        "from_cache": found.is_from_cache,
        "error_code": row.error_code or None,
        "error_message": row.error_message or None,
        "can_be_answered": found.can_be_answered,
        "attempts": [_call_as_json(call) for call in found.calls],
        "path": [_step_as_json(step) for step in found.path.steps],
        "steps_left_out": found.path.dropped,
        "plan": _plan_as_json(found.plan) if found.plan else None,
    }


def _plan_as_json(plan: Plan) -> dict[str, Any]:
    return {
        "asked": plan.asked.name,
        "endpoint": plan.endpoint,
        "request_type": plan.request_type or None,
        "next": plan.next.target.name if plan.next else None,
        "waits_until": time_text(plan.free_at_ms),
        "fault": {"code": plan.fault.code, "message": plan.fault.message} if plan.fault else None,
        "chain": [_link_as_json(link) for link in plan.chain],
        "selection": _selection_as_json(plan, plan.selection) if plan.selection else None,
    }


def _link_as_json(link: Link) -> dict[str, Any]:
    return {
        "provider": link.target.provider,
        "model": link.target.model,
        "turn": link.turn,
        "named_by": link.whose,
        "why_not": link.why_not or None,
        "circuit": circuit_view(link.resting) if link.resting else None,
    }


def _selection_as_json(plan: Plan, selection: Selection) -> dict[str, Any]:
    question = selection.question
    links = {link.target: link for link in plan.chain}
    return {
        "complexity": question.assessment.complexity,
        "complexity_why": question.assessment.why,
        "least_quality": question.assessment.floor,
        "tier": selection.tier,
        "preferred_tier": question.rule.preferred,
        "tier_why": question.rule.why,
        "user_tier": question.rule.cap,
        "needs": sorted(question.needs.capabilities),
        "output_tokens": question.needs.output_tokens,
        "max_latency_ms": question.max_latency_ms,
        "models": [
            _considered_as_json(links, considered)
            for considered in (*selection.candidates, *selection.rejected)
        ],
    }


def _considered_as_json(links: Mapping[Any, Link], considered: Considered) -> dict[str, Any]:
    return {
        "provider": considered.model.provider,
        "model": considered.model.model,
        "turn": _turn(links, considered),
        "why_not": considered.why_not,
        "reason": _why(links, considered),
        "quality": considered.model.quality,
        "tier": considered.model.tier,
        "latency_ms": considered.latency_ms,
        "latency_from": considered.latency_source,
        "expected_usd": _usd_text(considered.expected_nanos),
    }


def _call_as_json(call: Any) -> dict[str, Any]:
    return {
        "number": call.number,
        "provider": call.provider,
        "model": call.model,
        "state": call.state,
        "reason": call.reason,
        "sent_at": time_text(call.sent_ms),
        "ended_at": time_text(call.ended_ms),
        "error": call.error or None,
        "cost_usd": _usd_text(call.cost_nanos),
    }


def _step_as_json(step: Step) -> dict[str, Any]:
    return {
        "provider": step.target.provider,
        "model": step.target.model,
        "what": step.what,
        "at": time_text(step.at_ms),
        "times": step.count,
        "why": step.why or None,
    }
