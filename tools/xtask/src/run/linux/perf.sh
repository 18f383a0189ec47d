# What perf says of programs of known length (tests/machine/src/known.rs, tests/machine/src/rdpmc.rs).
. /functions
for turn in 1 2 3; do
    counts "stat $turn" instructions:u,branches:u,cycles:u,minor-faults:u /known
done
# What a policy can refuse.
counts open cache-misses /known
# More events than counters: value, running time in ns, its part of the enabled time in percent.
perf stat -x, -o /tmp/stat -e "$(copies 12 instructions:u)" /known
awk -F, 'NF > 4 { print "linux | shared " ++n " | " $1 " " $4 " " $5 }' /tmp/stat
# In user mode, without the kernel.
/rdpmc
perf record -q -c 100000 -e instructions:u -o /tmp/data /known
stats
echo "linux | samples | $(samples)"
# Several events sampled at 1,000 Hz; with 10 they take turns.
for events in 6 10; do
    perf record -q -F 1000 -e "$(copies $events instructions)" -o /tmp/data sh -c '/known; /known; /known; /known'
    stats
    echo "linux | samples with $events events | $(samples)"
    echo "linux | lost with $events events | $(lost)"
done
