# What perf says of a program of known length (tests/machine/src/known.rs).
for turn in 1 2 3; do
    perf stat -x, -o /tmp/stat -e instructions:u,branches:u /known
    sed -n 's/^\([0-9][0-9]*\),.*,\{1,2\}\(instructions:u\|branches:u\),.*/linux | stat '$turn' \2 | \1/p' /tmp/stat
done
perf record -q -c 100000 -e instructions:u -o /tmp/data /known
echo "linux | samples | $(perf script -i /tmp/data -F ip 2>/dev/null | grep -c .)"
# Several events sampled at 1,000 Hz; with 10 they take turns.
for events in 6 10; do
    list=$(yes instructions | head -n $events | tr '\n' ',' | sed 's/,$//')
    perf record -q -F 1000 -e "$list" -o /tmp/data /known
    echo "linux | samples with $events events | $(perf script -i /tmp/data -F ip 2>/dev/null | grep -c .)"
    echo "linux | lost with $events events | $(perf script -i /tmp/data --show-lost-events 2>/dev/null | grep -c LOST)"
done
echo "linux | rdpmc | $(perf test -v rdpmc 2>&1 | tail -n 1)"
