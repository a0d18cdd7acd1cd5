"""Placeholder until merged."""


def add_parser(subparsers):
    pass
