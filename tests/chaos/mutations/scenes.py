"""The tests that mutants are run through, by where they are; `{dialect}` stands for the database."""

ON_BOTH = ("sqlite", "postgresql")
ON_SERVER = ("postgresql",)

_HERE = "tests/chaos/scenarios.py::"
ALL_ARE_ANSWERED = _HERE + "test_all_are_answered[{dialect}]"
ONE_DIES = _HERE + "test_one_dies[{dialect}]"
ONE_WAKES_LATE = _HERE + "test_one_wakes_late[{dialect}]"
ALL_STAND_STILL = _HERE + "test_all_stand_still[{dialect}]"
A_RUN_DIES = _HERE + "test_a_run_dies_half_way[{dialect}]"
LEFT_ALONE = "tests/chaos/test_one_budget.py::test_left_alone[{dialect}]"
MANY_BUDGETS = "tests/chaos/test_many_budgets.py::test_every_budget_holds[{dialect}-0]"
A_SLEEPER = "tests/chaos/test_lost_lease.py::test_a_sleeper_makes_no_call[0-after-dispatch-{dialect}]"
