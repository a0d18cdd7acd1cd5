"""``imsgate config generate``: print a sample configuration with the options of all drivers."""

import argparse
from contextlib import nullcontext
from typing import Any

from oslo_config import cfg, generator

from imsgate import config
from imsgate.server import state


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("config", help="manage the configuration")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    generate = actions.add_parser("generate", help="print an imsgate.conf with every option")
    generate.add_argument("--output", metavar="FILE", help="write to this file instead of printing")
    generate.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
