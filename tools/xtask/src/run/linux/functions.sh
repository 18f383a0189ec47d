# What the scripts of the guest `linux` have in common.
# What `perf stat` says of the EVENTS while PROGRAM runs: a line "linux | NAME EVENT | VALUE" for each event.
counts() { # NAME EVENTS PROGRAM
    perf stat -x, -o /tmp/stat -e "$2" $3
    awk -F, -v name="$1" 'NF > 4 { print "linux | " name " " $3 " | " $1 }' /tmp/stat
}
# Of the record in /tmp/data: samples, and losses if there are any samples. The first statistics are those of all events
# together.
stats() { perf report --stats -i /tmp/data 2>/dev/null | awk '/ stats:$/ { section++ } section == 1' > /tmp/stats; }
samples() { awk '$1 == "SAMPLE" { print $3 }' /tmp/stats; }
lost() { awk '$1 ~ /^LOST/ { n += $3 } $1 == "SAMPLE" { any = 1 } END { if (any) print n + 0 }' /tmp/stats; }
# A list with so many copies of this event.
copies() { yes "$2" | head -n "$1" | tr '\n' ',' | sed 's/,$//'; }
