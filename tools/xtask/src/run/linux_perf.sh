# What perf says of a program of known length (tests/machine/src/known.rs).
for turn in 1 2 3; do
    perf stat -x, -o /tmp/stat -e instructions:u,branches:u /known
    sed -n 's/^\([0-9][0-9]*\),.*,\{1,2\}\(instructions:u\|branches:u\),.*/linux | stat '$turn' \2 | \1/p' /tmp/stat
done
# What is in /tmp/data: samples, and losses if there are any samples.
# The first statistics are those of all events together.
stats() { perf report --stats -i /tmp/data 2>/dev/null | awk '/ stats:$/ { section++ } section == 1' > /tmp/stats; }
samples() { awk '$1 == "SAMPLE" { print $3 }' /tmp/stats; }
lost() { awk '$1 ~ /^LOST/ { n += $3 } $1 == "SAMPLE" { any = 1 } END { if (any) print n + 0 }' /tmp/stats; }
perf record -q -c 100000 -e instructions:u -o /tmp/data /known
stats
echo "linux | samples | $(samples)"
# Several events sampled at 1,000 Hz; with 10 they take turns.
for events in 6 10; do
    list=$(yes instructions | head -n $events | tr '\n' ',' | sed 's/,$//')
    perf record -q -F 1000 -e "$list" -o /tmp/data /known
    stats
    echo "linux | samples with $events events | $(samples)"
    echo "linux | lost with $events events | $(lost)"
done
