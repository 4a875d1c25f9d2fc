"""A broken sweep: what is lost is not taken back, or not rightly, or what is not lost is."""

from tests.chaos.mutations.scenes import ALL_ARE_ANSWERED, ON_BOTH, ON_SERVER, ONE_DIES, ONE_WAKES_LATE
from tests.support.mutants import Edit, Mutant

SWEEP = [
    Mutant(
        name="what is lost is never taken back",
        edits=[
            Edit(
                "db/sweep.py",
                "    lost, unknown = _take_back_expired(database, judge)\n",
                "    lost = unknown = 0\n",
            )
        ],
        scenario=ONE_WAKES_LATE,
        found_by=["§10.1 not within"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="a claim that is taken back stays",
        edits=[Edit("db/sweep.py", "    claims.drop(tx, [claim.id for claim in lost])\n", "")],
        scenario=ONE_DIES,
        found_by=["§10.1 not within"],
    ),
    Mutant(
        name="claims are taken back before they run out",
        edits=[
            Edit(
                "db/sweep.py",
                '    .where(claim_rows.c.lease_until_ms <= bindparam("now_ms"))\n',
                '    .where(bindparam("now_ms") > 0)\n',
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.10 no worker was lost"],
        dialects=ON_BOTH,
    ),
    Mutant(
        name="a lost call stays under way",
        edits=[
            Edit(
                "db/sweep.py",
                "        sent = {attempt.request_id: attempt for attempt in attempts.sent_under(tx, claim.id, ids)}\n",
                "        sent = {}\n",
            )
        ],
        scenario=ONE_DIES,
        found_by=["§10.5 calls-in-flight", "§10.4"],
        dialects=ON_BOTH,
    ),
    Mutant(
        name="a lost call is entered as one that cost nothing",
        edits=[Edit("db/sweep.py", "    verdict=Verdict.UNKNOWN,\n", "    verdict=Verdict.RETRY,\n")],
        scenario=ONE_DIES,
        found_by=["§10.7"],
    ),
    Mutant(
        name="lines that have ended are taken back",
        edits=[
            Edit(
                "db/requests.py",
                '    requests.c.id.in_(bindparam("ids", expanding=True)),\n'
                '    requests.c.claim_id == bindparam("claim"),\n'
                "    requests.c.state == word(RequestState.CLAIMED),\n",
                '    requests.c.id.in_(bindparam("ids", expanding=True)),\n    bindparam("claim") > 0,\n',
            ),
            Edit(
                "db/requests.py",
                '            requests.c.claim_id == row["claim_id"],\n'
                "            requests.c.state == word(RequestState.CLAIMED),\n",
                "",
            ),
        ],
        scenario=ONE_DIES,
        found_by=["§10.5", "§10.8 counters", "§10.1 ends"],
    ),
]
