#!/usr/bin/env bash
# crash_test.sh: an ingest is killed with SIGKILL again and again, at moments that a seed chooses; each time every acknowledged row must be there, the rows must be
# a prefix of what was sent, bit for bit, and the next ingest goes on from there.
. "$(dirname "$0")/lib.sh"
SEED=${SEED:-$RANDOM}
ROUNDS=${ROUNDS:-8}
RANDOM=$SEED
echo "seed $SEED"

ROWS=1000000
"$MOTE" generate arm --rows $ROWS --seed "$SEED" >arm.csv
volume a.img 512M
present=0
for round in $(seq "$ROUNDS"); do
    level=$(echo "sync group periodic:3 none" | cut -d' ' -f$((RANDOM % 4 + 1)))
    batch=$((RANDOM % 3 == 0 ? RANDOM % 20 + 1 : RANDOM % 2000 + 1))
    rm -f ack
    { head -n 1 arm.csv; tail -n +$((present + 2)) arm.csv; } |
        "$MOTE" ingest --quiet a.img arm - --time-column time_s --durability "$level" --batch $batch --ack ack --memtable 8M &
    writer=$!
    sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
    kill -KILL $writer 2>/dev/null
    wait $writer 2>/dev/null
    acked=$( (tail -n 1 ack || true) 2>/dev/null)
    if ! "$MOTE" scan a.img arm >out 2>err; then
        # Killed before the table was made.
        if grep -q MOTE_ENOTABLE err && [ "${acked:-0}" = 0 ]; then pass; else fail "test_kill_round_$round" "$(cat err)"; fi
        continue
    fi
    rows=$(($(wc -l <out) - 1))
    at_least "test_kill_round_${round}_keeps_every_acknowledged_row" "$rows" $((present + ${acked:-0}))
    head -n $((rows + 1)) arm.csv >want
    same "test_kill_round_${round}_leaves_an_exact_prefix" want out
    expect "test_kill_round_${round}_verify" 0 "$MOTE" verify a.img
    echo "round $round: $level, batch $batch: $((rows - present)) rows came in, ${acked:-0} were acknowledged"
    present=$rows
    if [ $((RANDOM % 3)) = 0 ]; then expect checkpoint 0 "$MOTE" checkpoint a.img; fi
done
{ head -n 1 arm.csv; tail -n +$((present + 2)) arm.csv; } >rest.csv
expect test_ingest_after_kills_goes_on 0 "$MOTE" ingest --quiet a.img arm rest.csv --time-column time_s
expect test_scan_after_kills 0 "$MOTE" scan a.img arm
same test_scan_after_kills_is_complete_and_bit_identical arm.csv out
expect test_verify_after_kills 0 "$MOTE" verify a.img
finish
