#!/usr/bin/env bash
# retention_test.sh: `mote retention`, `mote pin`, `mote unpin`: set, told, in force, pinned, given up; bad words are refused.
. "$(dirname "$0")/lib.sh"

{ echo k,t; for i in $(seq 1 400); do echo "$((i % 4)),$((1700000000 + i * 60))000000000"; done; } >plain.csv
volume a.img
expect test_ingest 0 "$MOTE" ingest --quiet a.img arm plain.csv --key k,t --time-column t --types k:int64,t:timestamp
expect test_retention_before_it_is_set_tells_nothing 0 "$MOTE" retention a.img arm
expect test_pin_without_retention_is_usage 2 "$MOTE" pin a.img arm early --from 1700000000s --to 1700001000s
expect test_retention_age_succeeds 0 "$MOTE" retention a.img arm --age 100m --window 10m
expect test_retention_is_told 0 "$MOTE" retention a.img arm
says test_retention_tells_the_age out 'age 6000 s'
expect test_retention_json_succeeds 0 "$MOTE" retention a.img arm --json
if python3 -c 'import json; a=json.load(open("out"))["retention"]; assert a["age_ns"]==6000*10**9 and a["window_ns"]==600*10**9 and a["horizon_ns"]==(1700000000+400*60-6000)*10**9' 2>err; then pass; else fail test_retention_json_is_json "$(tail -n 1 err)"; fi
expect test_count_succeeds 0 "$MOTE" scan a.img arm --count
printf '101\n' >want
same test_expired_rows_are_not_counted want out
expect test_pin_succeeds 0 "$MOTE" pin a.img arm incident --from 1700020000s --to 1700021000s
expect test_pin_again_is_refused 1 "$MOTE" pin a.img arm incident --from 1700020000s --to 1700021000s
expect test_pin_without_times_is_usage 2 "$MOTE" pin a.img arm other
expect test_retention_shorter_age_succeeds 0 "$MOTE" retention a.img arm --age 10m
expect test_scan_of_the_pinned_succeeds 0 "$MOTE" scan a.img arm --count --to 1700021000s
printf '17\n' >want
same test_pinned_rows_are_there want out
expect test_info_succeeds 0 "$MOTE" info a.img
says test_info_tells_the_retention out 'retention: age 600 s'
says test_info_tells_the_pin out 'pin incident'
expect test_info_json_succeeds 0 "$MOTE" info a.img --json
if python3 -c 'import json; a=json.load(open("out"))["tables"][0]["retention"]; assert a["pins"][0]["name"]=="incident"' 2>err; then pass; else fail test_info_json_is_json "$(tail -n 1 err)"; fi
expect test_dump_succeeds 0 "$MOTE" dump a.img manifest
says test_dump_tells_the_pin out 'pin incident'
expect test_unpin_succeeds 0 "$MOTE" unpin a.img arm incident
expect test_unpin_again_is_refused 1 "$MOTE" unpin a.img arm incident
expect test_count_after_unpin_succeeds 0 "$MOTE" scan a.img arm --count
printf '11\n' >want
same test_unpinned_rows_are_gone want out
expect test_retention_none_succeeds 0 "$MOTE" retention a.img arm --none
expect test_retention_of_bad_age_is_usage 2 "$MOTE" retention a.img arm --age 7
expect test_retention_of_bytes_and_recycle_succeeds 0 "$MOTE" retention a.img arm --bytes 16M --recycle
expect test_verify_succeeds 0 "$MOTE" verify a.img
finish
