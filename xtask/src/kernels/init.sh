#!/bin/busybox sh
# The first program of the guest, in the initramfs: loads the modules and makes the host's file system the
# root, by 9p and read-only, with a tmpfs above it for what is written. It must be switch_root: setns(2) and
# user namespaces do not work below a chroot.
set -e
b=/bin/busybox
$b mkdir -p /dev /proc /sys /host /upper /new
$b mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS1 2>&1
# isa-debug-exit: what is written to this port ends QEMU (see ending.rs).
broken() {
    echo "@guest broken the start failed: see the last lines of the log"
    $b stty -F /dev/ttyS1 -echo
    $b printf '\042' | $b dd of=/dev/port bs=1 seek=244 2>/dev/null
}
trap broken EXIT
$b mount -t proc proc /proc
while read -r module; do
    echo "loading $module"
    $b insmod "/modules/$module.ko"
done </modules/order
echo "mounting the host's file system"
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host
$b mount -t tmpfs -o mode=755 tmpfs /upper
$b mkdir /upper/data /upper/work
$b mount -t overlay -o lowerdir=/host,upperdir=/upper/data,workdir=/upper/work overlay /new
$b ip link set lo up
$b mount -o move /dev /new/dev
$b umount /proc
trap - EXIT
exec $b switch_root /new /bin/sh "$($b cat /script)"
