# SPDX-License-Identifier: Apache-2.0
"""One loss of power, and the account of what it did to the log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from durability.records import PREALLOCATED, Layout, Log, is_intact, is_torn_at_most
from durability.writer import NUMBER
from support.fusefs import HoldingFS, mounted

Sync: TypeAlias = Literal["dsync", "fsync", "fdsync", "none"]
Way: TypeAlias = Literal["await", "getevents", "eventfd"]

SYNCS: tuple[Sync, ...] = ("dsync", "fsync", "fdsync")
LAYOUTS: tuple[Layout, ...] = ("append", "direct")
WAYS: tuple[Way, ...] = ("await", "getevents", "eventfd")

LATEST_MOMENT = 400  # of the cut: three for each write and sync
PATIENCE = 60.0  # seconds that no writer takes, on a machine that is very busy

_TOP = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cut:
    """What is done, down to the moment at which the power goes."""

    engine: str
    sync: Sync
    layout: Layout
    way: Way
    seed: int

    def __str__(self) -> str:
        return f"{self.engine}, {self.sync}, {self.layout}, {self.way}, seed {self.seed}"


@dataclass
class Account:
    """What was found when the power was back."""

    acknowledged: int = 0
    lost: list[int] = field(default_factory=list)  # acknowledged, and not there
    wrong: list[int] = field(default_factory=list)  # bytes that nobody wrote
    unfinished: int = 0  # not acknowledged, and at most partly there
    complaint: str = ""  # of the writer, which ended otherwise than by the cut

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.wrong or self.complaint)


def perform(cut: Cut, folder: Path) -> Account:
    """Let a process write until the power is cut, and look at what is left."""
    chance = Random(cut.seed)
    with mounted(folder, disks=True) as fs:
        path = fs.create("log", bytes(PREALLOCATED) if cut.layout == "direct" else b"")
        if chance.random() < 0.7:
            fs.delay(0, scatter=chance.choice([0.0003, 0.002]))
        fs.cut_power(chance.randint(1, LATEST_MOMENT), chance.getrandbits(32))
        reported, complaint = run_writer(cut, path)
        return account_for(cut, fs, reported, complaint)


def run_writer(cut: Cut, path: Path) -> tuple[list[int], str]:
    """The numbers that the writer reported, and what it complained of."""
    read_end, write_end = os.pipe()
    options = {name: getattr(cut, name) for name in ("engine", "sync", "layout", "way", "seed")}
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "durability.writer", str(path)]
    command += [f"--{name}={value}" for name, value in options.items()]
    writer = subprocess.Popen(
        [*command, f"--report={write_end}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(_TOP)])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[write_end],
    )
    os.close(write_end)
    killer = threading.Timer(PATIENCE, writer.send_signal, [signal.SIGABRT])  # says where it was
    killer.start()
    with open(read_end, "rb") as pipe:
        reports = pipe.read()
    _, complaint = writer.communicate()
    killer.cancel()
    if writer.returncode:
        complaint += f"the writer ended with {writer.returncode}"
    return [number for (number,) in NUMBER.iter_unpack(reports)], complaint


def account_for(cut: Cut, fs: HoldingFS, reported: list[int], complaint: str) -> Account:
    """Compare the disk with the log that the writer was to write."""
    account = Account(len(reported), complaint=complaint)
    if fs.has_power():
        account.complaint += "it ended before the cut"
    disk = fs.contents("log")
    acknowledged = set(reported)
    log = Log(cut.layout, cut.seed)
    while (record := log.next()) is not None and record.offset < len(disk):
        if is_intact(record, disk):
            acknowledged.discard(record.number)
        elif record.number in acknowledged:
            continue
        elif is_torn_at_most(record, disk):
            account.unfinished += any(disk[record.offset : record.end])
        else:
            account.wrong.append(record.number)
    account.lost = sorted(acknowledged)
    return account
