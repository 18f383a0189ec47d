#!/bin/busybox sh
# The first process of the Linux that `cargo xtask machine linux` boots. Lines that begin with "linux |" are
# read by the launcher.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
export PATH=/bin:/usr/bin HOME=/tmp
echo "linux | shell | $(cut -d' ' -f1 /proc/uptime)"
dmesg | sed -n 's/^\[[ 0-9.]*\] /linux | kernel | /p' | grep -E 'Performance Events|\.\.\. |tsc: |clocksource: '
pmis() { sed -n 's/^ *PMI: *\([0-9]*\).*/\1/p' /proc/interrupts; }
for turn in 1 2 3; do
    perf stat -x, -o /tmp/stat -e instructions:u,branches:u /known
    sed -n 's/^\([0-9][0-9]*\),.*,\{1,2\}\(instructions:u\|branches:u\),.*/linux | stat '$turn' \2 | \1/p' /tmp/stat
done
# Seconds of the system clock, and of the RTC, from one second of the RTC to one four seconds later.
rtc() { cat /sys/class/rtc/rtc0/since_epoch; }
next_second() { now=$(rtc); while [ $(rtc) = $now ]; do sleep 0.05; done; }
for clock in tsc hpet; do
    echo $clock > /sys/devices/system/clocksource/clocksource0/current_clocksource
    next_second
    start=$(cut -d' ' -f1 /proc/uptime) rtc_start=$(rtc)
    sleep 3.5
    next_second
    end=$(cut -d' ' -f1 /proc/uptime) rtc_end=$(rtc)
    echo "linux | four seconds of $clock | $((rtc_end - rtc_start)) $(echo "$end $start" | awk '{ printf "%.0f", $1 - $2 }')"
done
echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource
before=$(pmis)
perf record -q -c 100000 -e instructions:u -o /tmp/data /known
after=$(pmis)
echo "linux | samples | $(perf script -i /tmp/data -F ip 2>/dev/null | grep -c .)"
echo "linux | interrupts | $((after - before))"
echo "linux | clocksource | $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "linux | pmis | $(pmis)"
echo "linux | end"
exec sleep 1000000
