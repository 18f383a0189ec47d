#!/bin/busybox sh
# The first process of the guest `linux`. Lines that begin with "linux |" are read by the launcher.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
export PATH=/bin:/usr/bin HOME=/tmp
echo "linux | shell | $(cut -d' ' -f1 /proc/uptime)"
dmesg | sed -n 's/^\[[ 0-9.]*\] /linux | kernel | /p' | grep -E 'Performance Events|\.\.\. |tsc: '
cd /tmp
sh /script
echo "linux | clocksource | $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "linux | interrupts | $(grep -E 'NMI|PMI' /proc/interrupts | awk '{ printf "%s %s ", $1, $2 }')"
echo "linux | end"
poweroff -f
