"""Stages as Prefect tasks: named functions of a module, which import Prefect only when they are called."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from patchlake.flows.control.records import flow_run_id

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
R = TypeVar("R")


class StageTask(Generic[P, R]):
    """A function that Prefect shows as a task run, never cached. A run with nothing to do calls none of them."""

    def __init__(self, function: Callable[P, R], name: str, task_run_name: str | None) -> None:
        self._function, self._name, self._task_run_name = function, name, task_run_name
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    @cached_property
    def task(self) -> Task[P, R]:
        """Prefect's task."""
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        options: dict[str, Any] = {"name": self._name, "task_run_name": self._task_run_name, "cache_policy": NO_CACHE}
        made: Task[P, R] = task(**options)(self._function)
        return made

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it as a task run of the flow under way; outside of a flow it is called plainly."""
        if flow_run_id() is None:
            return self._function(*args, **kwargs)
        result: R = self.task(*args, **kwargs)
        return result


def stage_task(name: str, task_run_name: str | None = None) -> Callable[[Callable[P, R]], StageTask[P, R]]:
    """Make a function a Prefect task of this name; `task_run_name` may name its parameters in braces."""
    return lambda function: StageTask(function, name, task_run_name)
