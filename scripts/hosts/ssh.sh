#!/bin/bash
# What mpirun takes for ssh: HOST is one of hosts.sh.
exec "$(dirname "$0")/hosts.sh" ssh "$@"
