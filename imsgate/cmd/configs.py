"""``imsgate config``: print a sample configuration with all options, or check one."""

import argparse
import sys
from contextlib import nullcontext
from typing import Any

from oslo_config import cfg, generator

from imsgate import config
from imsgate.cmd import arguments
from imsgate.server import state


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("config", help="manage the configuration")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    generate = actions.add_parser("generate", help="print an imsgate.conf with every option")
    generate.add_argument("--output", metavar="FILE", help="write to this file instead of printing")
    generate.set_defaults(run=run_generate)
    check = actions.add_parser(
        "check",
        help="check everything that would keep the server from starting",
        description="Check everything that would keep 'imsgate serve' from starting, without "
        "serving. Run it as the user of the service. Exits with 2 if there is a problem; all that "
        "can be found at once are printed.",
    )
    check.add_argument("paste", nargs="?", metavar="PASTE_INI", help="as for 'imsgate serve'")
    arguments.add_config(check)
    check.add_argument(
        "--threads",
        type=arguments.positive,
        default=128,
        metavar="N",
        help="as for 'imsgate serve' (default: %(default)s)",
    )
    check.set_defaults(run=run_check)


def run_check(args: argparse.Namespace) -> int:
    """Returns exit status 2 if the server would not start."""
    from imsgate.doctor import startup  # noqa: PLC0415 - it needs what the server needs

    result = startup.check(arguments.global_conf(args), args.paste, args.threads)
    for problem in result.problems:
        print(f"imsgate: {problem}", file=sys.stderr)
    for place in result.unread:
        print(f"imsgate: warning: {place} has no effect", file=sys.stderr)
    if not result.problems:
        print("The server would start with this configuration.")
    return 2 if result.problems else 0


def run_generate(args: argparse.Namespace) -> int:
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    output = ["--output-file", args.output] if args.output else []
    conf(
        args=[
            "--namespace",
            config.PROJECT,
            "--namespace",
            "oslo.log",
            "--namespace",
            "oslo.policy",
            *output,
        ]
    )
    writing = state.writing_to(args.output, "--output") if args.output else nullcontext()
    with writing:
        generator.generate(conf)
    return 0
