#!/bin/bash
# Makes machines of one, for programs that run on several: network namespaces on a bridge, each with a name and an address of its
# own. They share the disk and the processors. Linux, as root, with iproute2 and util-linux.
#   hosts.sh up NAME COUNT         makes the hosts NAME-0, NAME-1, … and prints the address of each; this machine reaches them
#   hosts.sh down NAME COUNT       removes them, and ends what runs on them
#   hosts.sh run HOST COMMAND…     runs a command on a host
#   hosts.sh ssh [-OPTION…] HOST COMMAND…   the same in ssh's manner, for mpirun: words are joined for a shell
set -euo pipefail

# The last number of the network, from the name: several sets of hosts may exist.
network() { echo "10.$((64 + $(cksum <<<"$1" | cut -d' ' -f1) % 128)).$(($(cksum <<<"$1" | cut -d' ' -f2) % 200))"; }

up() {
  local name=$1 count=$2 net hosts i
  net=$(network "$name")
  hosts="127.0.0.1 localhost"$'\n'
  for ((i = 0; i < count; i++)); do hosts+="$net.$((i + 1)) $name-$i"$'\n'; done
  ip link add "br-$name" type bridge
  ip addr add "$net.254/24" dev "br-$name"
  ip link set "br-$name" up
  for ((i = 0; i < count; i++)); do
    # What ip-netns puts over /etc/hosts there.
    mkdir -p "/etc/netns/$name-$i"
    printf %s "$hosts" >"/etc/netns/$name-$i/hosts"
    ip netns add "$name-$i"
    ip link add "v$i-$name" type veth peer name eth0 netns "$name-$i"
    ip link set "v$i-$name" master "br-$name" up
    ip -n "$name-$i" addr add "$net.$((i + 1))/24" dev eth0
    ip -n "$name-$i" link set lo up
    ip -n "$name-$i" link set eth0 up
    echo "$net.$((i + 1))"
  done
}

down() {
  local name=$1 count=$2 i
  for ((i = 0; i < count; i++)); do
    ip netns pids "$name-$i" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
    # Its end of the cable goes with it.
    ip netns del "$name-$i" 2>/dev/null || true
    rm -rf "/etc/netns/$name-$i"
  done
  ip link del "br-$name" 2>/dev/null || true
}

run() {
  local host=$1
  shift
  exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$host" "$@"
}

command=$1
shift
case $command in
up | down | run) "$command" "$@" ;;
ssh)
  while [[ $1 == -* ]]; do shift; done
  host=$1
  shift
  run "$host" sh -c "$*"
  ;;
*)
  echo "hosts.sh: no command '$command'" >&2
  exit 2
  ;;
esac
