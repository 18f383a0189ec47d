# The benchmark's work, alone and sampled by perf. WARMUP and TURNS are set above.
. /functions
echo "linux | case | 0"
/work $WARMUP $TURNS
for events in 6 10; do
    echo "linux | case | $events"
    perf record -q -F 1000 -e "$(copies $events instructions)" -o /tmp/data /work $WARMUP $TURNS
    stats
    echo "linux | samples | $(samples)"
    echo "linux | lost | $(lost)"
done
