"""Processes that count: ``python -m tests.metrics.counting DIRECTORY``.

Each line of the input is done by one process after the other: ``fork`` starts one more, ``add NAME
N`` counts in the newest one, ``kill`` kills the newest one. Prints a line when it is done.
"""

import os
import signal
import sys

from imsgate.metrics import values


def _child(commands: int, done: int) -> None:
    with open(commands) as lines, open(done, "w") as output:
        for line in lines:
            name, number = line.split()
            values.add(((name,), float(number)))
            print("done", file=output, flush=True)


def _start() -> tuple[int, int, int]:
    theirs, ours = os.pipe()
    done, theirs_done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _child(theirs, theirs_done)
        os._exit(0)
    os.close(theirs)
    os.close(theirs_done)
    return pid, ours, done


def main(directory: str) -> None:
    values.begin(directory)
    children: list[tuple[int, int, int]] = []
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "fork":
            children.append(_start())
        elif command == "add":
            _, commands, done = children[-1]
            os.write(commands, (" ".join(arguments) + "\n").encode())
            os.read(done, 100)
        elif command == "kill":
            pid, commands, _ = children.pop()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(commands)
        print(command, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
