"""What ``programs`` runs, with all that it loads before it does anything."""

import contextlib
import importlib
import io

import glanceclient.shell
import openstackclient.shell

from imsgate.cmd import main

PROGRAMS = {
    "openstack": openstackclient.shell.main,
    "glance": glanceclient.shell.main,
    "imsgate": main.main,
}

for module in ("glanceclient.v2.shell", "imsgate.app", "imsgate.cmd.db", "imsgate.cmd.serve"):
    importlib.import_module(module)
# To explain a command, it loads all commands and looks who brought them.
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    openstackclient.shell.main(["image", "list", "--help"])
