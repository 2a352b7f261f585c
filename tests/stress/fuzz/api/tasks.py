# SPDX-License-Identifier: Apache-2.0
"""What a program may do in an event loop: tasks that await, are cancelled, and time out."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fuzz.api.machine import Machine
from fuzz.api.plans import Plan
from fuzz.api.queues import Queue
from support.workers import PATIENCE

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

new_uvloop: LoopFactory | None
try:
    import uvloop
except ImportError:
    new_uvloop = None
else:
    new_uvloop = uvloop.new_event_loop


@dataclass
class Left:
    """A buffer that was given back by a cancelled await: from then on nobody writes to it."""

    plan: Plan
    memory: bytes


@dataclass
class Turn:
    """One event loop, from its start to its end."""

    machine: Machine
    queues: list[Queue]
    left: list[Left] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)  # as asyncio wants them held

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        # not bound to the turn, and so to the contexts: the last loop of a context lives on in it
        complaints = self.complaints
        loop.set_exception_handler(lambda _, what: complaints.append(repr(what)))
        alarm = loop.call_later(PATIENCE / 2, self.complain, "a task hangs")
        try:
            await self.run_tasks()
        finally:
            alarm.cancel()

    async def run_tasks(self) -> None:
        chance = self.machine.chance
        async with asyncio.timeout(PATIENCE):
            collector = asyncio.create_task(self.collect_for_ever())
            count = chance.choice([1, 2, 8, 30])
            tasks = [asyncio.create_task(self.live(chance.randint(1, 8))) for _ in range(count)]
            self.tasks = [collector, *tasks]
            if chance.random() < 0.5:
                await self.disturb(tasks)
            if chance.random() < 0.2:
                return  # with tasks that are at work; the loop cancels them
            results = await asyncio.gather(*tasks, return_exceptions=True)
            collector.cancel()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    def complain(self, what: str) -> None:
        """With all that may tell why."""
        print(what, file=sys.stderr)
        for queue in self.queues:
            print(queue, queue.context.statistics(), queue.context.in_flight, file=sys.stderr)
        for task in self.tasks:
            if not task.done():
                task.print_stack()
                print([f.f_locals.get("plan") for f in task.get_stack()], task, file=sys.stderr)

    async def collect_for_ever(self) -> None:
        """Operations whose await was given up keep their places until somebody collects them."""
        while True:
            for queue in self.queues:
                for operation in queue.context.getevents(0) if queue.dropped else ():
                    queue.take(operation)
            await asyncio.sleep(0.001)

    async def disturb(self, tasks: list[asyncio.Task[None]]) -> None:
        chance = self.machine.chance
        for _ in range(chance.randint(0, 6)):
            await asyncio.sleep(chance.choice([0, 0, 0.0005]))
            chance.choice(tasks).cancel()
            self.machine.figures["tasks cancelled"] += 1

    async def live(self, steps: int) -> None:
        """A task: one operation after the other."""
        for _ in range(steps):
            await self.step()

    async def step(self) -> None:
        chance = self.machine.chance
        queue = chance.choice(self.queues)
        plan, short_lived = self.machine.some_plan()
        if short_lived >= 0 or not plan.begin():
            # a number that is closed while it is queued would be another file's
            self.machine.close_number(short_lived)
            await asyncio.sleep(0)
            return
        if chance.random() < 0.05:
            plan.coroutine(queue.context).close()  # never awaited
            plan.withdraw()
            return
        queue.is_exact = False
        limit = chance.choice([None, None, None, 0, 0.0003, 0.002])
        if plan.gate is not None:
            limit = 0.002
        await self.wait_for(queue, plan, limit)

    async def wait_for(self, queue: Queue, plan: Plan, limit: float | None) -> None:
        try:
            async with asyncio.timeout(limit):
                result = await self.result_of(queue, plan)
        except TimeoutError:
            self.give_up(queue, plan)
        except asyncio.CancelledError:
            self.give_up(queue, plan)
            raise
        except OSError as error:
            self.machine.figures["errors"] += 1
            if error.errno in self.machine.fault_errors:
                plan.settle()
            else:
                plan.fail(error, set())
        else:
            self.machine.figures[f"awaited {plan.kind}"] += 1
            plan.finish(result)

    async def result_of(self, queue: Queue, plan: Plan) -> Any:
        """By one of the ways to await."""
        chance = self.machine.chance
        way = chance.random()
        if way < 0.15 and queue.places_used() == 0:
            operation = plan.operation()
            try:
                operation.submit(queue.context)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
            else:
                plan.is_an_operation = True
                return await operation
        if way < 0.3:
            return await asyncio.create_task(plan.coroutine(queue.context))
        if way < 0.4:
            return (await asyncio.gather(plan.coroutine(queue.context)))[0]
        return await plan.coroutine(queue.context)

    def give_up(self, queue: Queue, plan: Plan) -> None:
        """The await is over, and what was awaited may be in flight."""
        self.machine.figures["awaits given up"] += 1
        queue.dropped += plan.is_an_operation  # then getevents hands it out again
        if plan.gate is not None and self.machine.faulty:
            plan.gate.open()  # the kernel may have been kept from cancelling it
        if plan.is_mutable:
            # the kernel has let go of the buffers before the exception came
            self.left.append(Left(plan, plan.memory()))
            plan.settle()
        else:
            queue.limbo.append(plan)


def run_a_loop(machine: Machine) -> None:
    """On contexts of its own, and those of before that have places left."""
    for _ in range(machine.chance.randint(0, 2)):
        machine.open_queue()
    machine.queues_settle()
    queues = [queue for queue in machine.queues if queue.places_used() < queue.context.max_requests]
    if not queues:
        return
    turn = Turn(machine, queues)
    with asyncio.Runner(loop_factory=loop_factory(machine)) as runner:
        runner.run(turn.main())
    assert not turn.complaints, "\n".join(turn.complaints)
    machine.queues_settle()
    for left in turn.left:
        assert left.plan.memory() == left.memory, "a buffer changed after its await was over"


def warm_up() -> None:
    """What is opened once in the life of a process is opened now: libuv has a pipe for signals."""
    if new_uvloop is not None:
        new_uvloop().close()


def loop_factory(machine: Machine) -> LoopFactory:
    if new_uvloop is not None and machine.chance.random() < 0.3:
        return new_uvloop
    return asyncio.new_event_loop
