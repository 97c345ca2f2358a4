#!/usr/bin/env bash
# Installs what the tests start by themselves: a C compiler (race detector),
# PostgreSQL, PgBouncer, MariaDB and ZooKeeper. Where it can't, it says what to install.
#
# The tests run their own instances on free ports in temporary folders, so the
# distribution's services are never needed: whatever ran before goes on running,
# and what is installed here is neither started nor enabled.
set -euo pipefail

need=()                                   # Debian packages to install
have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null; }
have_pgbouncer() { [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null; }
have_mariadb() { command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ]; }
have_zookeeper() { [ -f /usr/share/java/zookeeper.jar ] && command -v java >/dev/null; }

command -v "${CC:-gcc}" >/dev/null || command -v cc >/dev/null || need+=(gcc libc6-dev)
have_postgres || need+=(postgresql)
have_pgbouncer || need+=(pgbouncer)
have_mariadb || need+=(mariadb-server)
have_zookeeper || need+=(zookeeper)
[ ${#need[@]} -gt 0 ] || exit 0

fail() {
	printf '%s\n' "$@" >&2
	exit 1
}

command -v apt-get >/dev/null || fail \
	"The tests need, and this system has no apt-get to install it with: ${need[*]}" \
	"Install a C compiler, the PostgreSQL, PgBouncer and MariaDB programs, and ZooKeeper 3.8 with Java" \
	"(zookeeper.jar in /usr/share/java), then run make test again."

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	sudo -n true 2>/dev/null || fail \
		"The tests need packages that are not installed. Run this, then make test again:" \
		"  sudo apt-get update && sudo apt-get install --no-install-recommends ${need[*]}"
	as_root=(sudo -n)
fi

# While packages are set up, policy-rc.d forbids starting, stopping or
# restarting any service; an existing one is put back afterwards.
policy=/usr/sbin/policy-rc.d
saved=$(mktemp -u "$policy.waltz.XXXXXX")
restore() {
	"${as_root[@]}" rm -f "$policy"
	if [ -e "$saved" ]; then "${as_root[@]}" mv "$saved" "$policy"; fi
}
[ ! -e "$policy" ] || "${as_root[@]}" mv "$policy" "$saved"
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
"${as_root[@]}" chmod +x "$policy"

echo "installing for the tests: ${need[*]}"
"${as_root[@]}" apt-get -q update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
	apt-get -q install -y --no-install-recommends "${need[@]}"

# A freshly installed service would start at the next boot.
if [ -d /run/systemd/system ]; then
	for package in "${need[@]}"; do
		case $package in
		postgresql) "${as_root[@]}" systemctl disable postgresql.service ;;
		pgbouncer) "${as_root[@]}" systemctl disable pgbouncer.service ;;
		mariadb-server) "${as_root[@]}" systemctl disable mariadb.service ;;
		esac
	done
fi
