# Two VMs with the same files: the one with more memory records, the other counts.
. /functions
uptime() { cut -d. -f1 /proc/uptime; }
if [ "$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)" -gt 220000 ]; then
    # It says at its end how many samples it wrote.
    perf record -N -c 400000 -e instructions:u -o /tmp/data /long 2> /tmp/said
    echo "linux | samples | $(sed -n 's/.*(\([0-9]*\) samples).*/\1/p' /tmp/said)"
    # The other is to end first.
    while [ "$(uptime)" -lt 60 ]; do sleep 1; done
else
    counts refused cache-misses,instructions:u /known
    /rdpmc
    for turn in 1 2 3 4 5 6 7 8 9 10 11 12; do
        counts "stat $turn" instructions:u,branches:u,cycles:u /known
        sleep 0.5
    done
fi
