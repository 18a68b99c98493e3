# Runs as the guest's first process once the host's file system is its root. Variables come before this
# text: TESTS (lines: name, path), ARGUMENTS, LIMIT (seconds for one), and what the tests read.
exec </dev/null >/dev/ttyS1 2>&1
# Ends QEMU: see ending.rs. Setting a mode of a terminal waits until all output has left it (TCSADRAIN).
# The sleep is for the instant until QEMU is gone, as process 1 must not end.
finish() {
    stty -F /dev/ttyS1 -echo
    printf "\\$(printf %o "$1")" | dd of=/dev/port bs=1 seek=244 2>/dev/null
    sleep 60
}
broken() {
    echo "@guest broken $*"
    finish 34
}
try() {
    "$@" || broken "cannot $*"
}

try mount -t proc proc /proc
try mount -t sysfs sysfs /sys
try mount -t cgroup2 cgroup2 /sys/fs/cgroup
try mount -t bpf bpf /sys/fs/bpf
try mount -t tmpfs -o mode=1777 tmpfs /tmp
try mount -t tmpfs -o mode=755 tmpfs /run
try mkdir -p /dev/pts /dev/shm
try mount -t devpts devpts /dev/pts
try mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# The limits of a process on Debian; the kernel's own hard limit is 4096.
ulimit -H -n 1048576
ulimit -S -n 1024
for directory in /sys/fs/cgroup /sys/fs/bpf; do
    [ "$(stat -f -c %T "$directory")" != sysfs ] || broken "$directory is not mounted"
done
[ -s /sys/kernel/btf/vmlinux ] || broken "the kernel has no BTF"
echo "@guest ready $(uname -r)"

failed=0
while read -r name path; do
    echo "@guest begin $name"
    begin=$(cut -d. -f1 /proc/uptime)
    # shellcheck disable=SC2086
    timeout -k 10 "$LIMIT" "$path" $ARGUMENTS
    status=$?
    [ $status -eq 0 ] || failed=1
    echo "@guest end $name $status $(($(cut -d. -f1 /proc/uptime) - begin))"
done <<END
$TESTS
END
finish $((32 + failed))
