#!/bin/busybox sh
# Process 1 before systemd: a root in memory, since services have mount namespaces of their own and
# the kernel lets none be made of the initial disk.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc p /proc; mount -t devtmpfs d /dev
for m in $(cat /modules/order); do insmod /modules/$m 2>>/dev/ttyS0; done
mkdir /new; mount -t tmpfs -o mode=755 root /new
cp -a /system/. /new/
mkdir -p /new/proc /new/sys /new/dev /new/run /new/root /new/home /new/srv /new/var/lib /new/var/log /new/usr/sbin
mkdir -m 1777 /new/tmp /new/var/tmp
cp /run /new/usr/bin/checks
for applet in $(busybox --list); do
    [ -e /new/usr/bin/$applet ] || [ -e /new/usr/sbin/$applet ] || ln -s busybox /new/usr/bin/$applet
done
umount /dev /proc
exec switch_root /new /usr/lib/systemd/systemd
