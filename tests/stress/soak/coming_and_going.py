# SPDX-License-Identifier: Apache-2.0
"""Contexts that are made and dropped, processes that are forked, and the garbage collector."""

from __future__ import annotations

import errno
import gc
import select
import time

from linux_aio import AIOContext, AIOOperation, EventFD
from soak.blocks import BLOCK
from soak.files import some_file
from soak.round import Round
from support.files import Gate
from support.forked import in_child
from support.workers import finish, start


def make_and_drop_contexts(work: Round) -> None:
    """With polls that never end and reads that do; closed, dropped, or closed by another thread."""
    chance = work.chance("contexts")
    with some_file(work.folder, 4, chance) as fd, Gate() as gate:
        while not work.is_over():
            context = work.context(chance, chance.choice([1, 8, 300]))
            operations = [AIOOperation.read(BLOCK, fd), AIOOperation.poll(gate, select.POLLIN)]
            with EventFD() as efd:
                if chance.random() < 0.5:
                    operations[0].prepare(efd)
                taken = context.submit(*operations)
            way = chance.random()
            if way < 0.4:
                context.close()
                check_read(operations[0])
                assert taken == 1 or operations[1].done
            elif way < 0.6:
                finish(start(context.close), start(context.close))
            else:
                work.count(contexts_dropped=1)
            del context, operations


def check_read(operation: AIOOperation) -> None:
    """Of zeros; but closing cancels what can be cancelled."""
    try:
        assert operation.get_result() == bytes(BLOCK)
    except OSError as error:
        if error.errno != errno.ECANCELED:
            raise


def fork(work: Round) -> None:
    """Children that use a context of their own, and let go of their parent's."""
    chance = work.chance("forks")
    with some_file(work.folder, 4, chance) as fd, Gate() as gate:
        while not work.is_over():
            with work.context(chance, 4) as context:
                context.submit(AIOOperation.poll(gate, select.POLLIN))

                def in_the_child(context: AIOContext = context) -> str:
                    try:
                        context.getevents(0)
                    except RuntimeError:
                        pass
                    else:
                        return "it used its parent's context"
                    context.close()
                    with AIOContext(2, engine=context.engine) as own:
                        read = AIOOperation.read(BLOCK, fd)
                        read.submit(own)
                        own.getevents()
                        return "" if read.get_result() == bytes(BLOCK) else "it read something else"

                assert in_child(in_the_child) == ""
                assert context.in_flight == 1
            work.count(forks=1)
            time.sleep(0.05)


def collect_garbage(work: Round) -> None:
    """At random points of everything else."""
    chance = work.chance("garbage")
    while not work.is_over():
        gc.collect(chance.randint(0, 2))
        work.count(collections=1)
        time.sleep(chance.uniform(0, 0.02))
