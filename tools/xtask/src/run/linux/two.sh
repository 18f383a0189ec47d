# Two VMs with the same files: the one with more memory records, the other counts.
. /functions
if [ "$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)" -gt 220000 ]; then
    for turn in 1 2 3 4 5 6 7 8; do
        # It says at its end how many samples it wrote.
        perf record -N -c 100000 -e instructions:u -o /tmp/data /known 2> /tmp/said
        echo "linux | record $turn | $(sed -n 's/.*(\([0-9]*\) samples).*/\1/p' /tmp/said)"
    done
else
    for turn in 1 2 3; do
        counts "stat $turn" instructions:u,branches:u,cycles:u /known
    done
    counts refused cache-misses,instructions:u /known
    /rdpmc
fi
