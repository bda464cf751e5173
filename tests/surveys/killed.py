"""Runs a survey of a tiny model; test_kills.py kills it. A parent with everything loaded is forked for every run."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

import attnscope
from tiny_models import model, tokenizer

WORDS = "the cat sat on mat dog ran to a of in it air plane flies high low".split()


def corpus():
    for number in range(240):
        yield " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(3 + number % 9))


def run(out):
    attnscope.survey(
        model("bert"), tokenizer(), corpus(), out, shard=10, threads=1, resume=True, examples=0, quiet=True
    )


def child(out):
    pid = os.fork()
    if pid == 0:
        try:
            run(out)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def parts(out):
    return len([*out.glob("parts/*.parquet")])


def ended(pid):
    found, status = os.waitpid(pid, os.WNOHANG)
    if found and os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a run failed by itself")
    return bool(found)


def main(folder, kills, seed):
    torch.set_num_threads(1)
    model("bert"), tokenizer()
    draw = torch.Generator().manual_seed(seed)
    begun = time.monotonic()
    run(folder / "whole")  # here, so that every child finds all modules loaded
    whole, round, moments = time.monotonic() - begun, 0, []  # moments: parts that were there at each kill
    while len(moments) < kills or pid is not None:
        out = folder / f"killed-{round}"
        pid = child(out)
        if len(moments) < kills:
            # after 0 to 3 more parts, and then at any moment of what follows: however busy the machine is, early and late
            more, part = int(torch.randint(4, (1,), generator=draw)), float(torch.rand(1, generator=draw))
            wanted, late = parts(out) + more, part * whole * (0.05 if more else 0.3)
            done = False
            while parts(out) < wanted and not done:
                time.sleep(0.002)
                done = ended(pid)
            end = time.monotonic() + late
            while time.monotonic() < end and not done:
                time.sleep(0.001)
                done = ended(pid)
            if not done:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                moments.append(parts(out))
                continue
            round, pid = round + 1, None
            continue
        while not ended(pid):
            time.sleep(0.005)
        round, pid = round + 1, None
    print(round, *moments)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
