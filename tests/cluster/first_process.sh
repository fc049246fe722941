# The first process of a daemon's own namespaces: HOST HOSTS_FILE DAEMON...
# It makes the host and stays, for the first process must reap the orphans.
set -e
hostname "$1"
mount --bind "$2" /etc/hosts
mount -t tmpfs shm /dev/shm
shift 2
"$@"
exit
