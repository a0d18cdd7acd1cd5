#!/bin/bash
# Kolla's start script reads this file before it runs the command of config.json.

# Kolla sets these, even to nothing, in the container that prepares or migrates the database.
if [[ "${!KOLLA_BOOTSTRAP[@]}" || "${!KOLLA_UPGRADE[@]}" ]]; then
    imsgate db upgrade
    exit 0
fi
