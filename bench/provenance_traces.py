"""Ground truth of AgentDojo (Debenedetti et al., 2024) as traces for `bench.provenance`, one JSON object a line.

Run by a Python that has the package `agentdojo`, which this project does not depend on; it imports nothing of the
project. Each task is executed by the calls of its ground truth; for each pair of a task and an injected goal the task
runs in an environment that is poisoned with the suite's own attack text, and then the goal's calls follow.

    {"suite": …, "task": …, "goal": null or …, "prompt": …, "calls": [[tool, arguments, result], …]}
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

VERSION = "v1"
ATTACK = "important_instructions_no_names"


def traces(version: str) -> Iterator[dict[str, Any]]:
    """Yield the traces of all suites of a version."""
    get_suites = importlib.import_module("agentdojo.task_suite.load_suites").get_suites
    load_attack = importlib.import_module("agentdojo.attacks.attack_registry").load_attack
    pipeline = importlib.import_module("agentdojo.agent_pipeline.ground_truth_pipeline").GroundTruthPipeline(None)
    pipeline.name = "local"  # of the models that the attack text can name
    for suite in get_suites(version).values():
        attack = load_attack(ATTACK, suite, pipeline)
        for task in suite.user_tasks.values():
            yield _trace(suite, task, None, {})
            for goal in suite.injection_tasks.values():
                try:
                    injections = attack.attack(task, goal)
                except ValueError:  # the task reads no place that can be poisoned
                    continue
                yield _trace(suite, task, goal, injections)


def _trace(suite: Any, task: Any, goal: Any, injections: dict[str, str]) -> dict[str, Any]:
    runtime_of = importlib.import_module("agentdojo.functions_runtime").FunctionsRuntime
    told = importlib.import_module("agentdojo.agent_pipeline.tool_execution").tool_result_to_str
    environment = task.init_environment(suite.load_and_inject_default_environment(injections))
    runtime = runtime_of(suite.tools)
    calls = []
    for call in task.ground_truth(environment):
        result, _ = runtime.run_function(environment, call.function, call.args)
        calls.append([call.function, dict(call.args), told(result)])
    injected = []
    if goal is not None:
        injected = [[call.function, dict(call.args), ""] for call in goal.ground_truth(environment)]
    return {
        "suite": suite.name,
        "task": task.ID,
        "goal": None if goal is None else goal.ID,
        "prompt": task.PROMPT,
        "calls": calls,
        "injected": injected,
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--version", default=VERSION, help="version of the suites")
    version = asked.parse_args().version
    logging.disable(logging.CRITICAL)
    for trace in traces(version):
        json.dump(trace, sys.stdout, default=str)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
