# The first process of a daemon's own namespaces: HOST FOLDER DAEMON...
# It makes the host and stays, for the first process must reap the orphans.
set -e
hostname "$1"
mount --bind "$2/hosts" /etc/hosts
# Snakemake's plugin clears SLURM_CONF in jobs, so the settings lie where Slurm looks by default.
mount --bind "$2" /etc/slurm
mount -t tmpfs shm /dev/shm
# A folder that hosts do not share with who submits.
mount -t tmpfs login_only "$2/login_only"
shift 2
"$@"
exit
