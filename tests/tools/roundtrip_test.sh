#!/usr/bin/env bash
# roundtrip_test.sh: what was ingested is scanned back bit for bit: every type, NULLs and odd texts, from the memtable, from SSTables, after a reopen; by
# key, by time, descending, limited; real recordings where they are present.
. "$(dirname "$0")/lib.sh"

# ---- Every type, with the corners of each ----
cat >types.csv <<'CSV'
k,i32,f64,f32,b,t,txt,bin,v32,v16,v8,p
1,-2147483648,0.1,0.1,true,0,plain,0x,"[1,2.5]","[0.5,-2]","[0,255]","[1,2,3]"
2,2147483647,-0,-0,false,-1,"comma, quote "" and
two lines",0x00ff10,"[nan,inf]","[-inf,65504]","[1,2]","[0.1,-0,1e-300]"
3,,,,,,,,,,,
4,0,1.7976931348623157e+308,3.4028235e+38,true,9223372036854775807,"",0xdeadbeef,"[1e-45,-3.4028235e+38]","[5.9604645e-08,1]","[9,9]","[nan,inf,-inf]"
5,7,5e-324,1e-45,false,-9223372036854775808,grüße 漢字 🤖,0x01,"[0,0]","[0,0]","[0,0]","[0,0,0]"
6,7,nan,nan,false,1,-nan,0x02,"[1,1]","[1,1]","[1,1]","[1,1,1]"
7,7,-inf,inf,false,1, blanks ,0x02,"[1,1]","[1,1]","[1,1]","[1,1,1]"
8,8,nan(0x4),nan(0x1),true,2,"NULL",0x,"[1,1]","[1,1]","[1,1]","[1,1,1]"
CSV
TYPES=k:int64,i32:int32,f64:float64,f32:float32,b:bool,t:timestamp,txt:text,bin:blob,v32:vector_f32[2],v16:vector_f16[2],v8:vector_u8[2],p:point3
sed 's/"NULL"/NULL/' types.csv >expected.csv
volume a.img
expect test_ingest_every_type_is_accepted 0 "$MOTE" ingest --quiet a.img types types.csv --key k --types "$TYPES"
expect test_scan_every_type_succeeds 0 "$MOTE" scan a.img types
same test_scan_every_type_is_bit_identical expected.csv out
expect test_scan_jsonl_succeeds 0 "$MOTE" scan a.img types --format jsonl
says test_scan_jsonl_writes_null out '{"k":3,"i32":null,"f64":null'
says test_scan_jsonl_writes_nan_as_string out '"v32":["nan","inf"]'
says test_scan_jsonl_escapes out 'comma, quote \" and\ntwo lines'
if python3 -c 'import json,sys
for line in open("out"): json.loads(line)' 2>err; then pass; else fail test_scan_jsonl_is_json "$(tail -n 1 err)"; fi
for k in 1 2 3 4 5 6 7 8; do
    "$MOTE" get a.img types $k --no-header >>got.csv || fail test_get_by_key_finds "key $k"
done
tail -n +2 expected.csv >rows.csv
same test_get_by_key_prints_what_scan_prints rows.csv got.csv
expect test_get_of_missing_key_is_refused 1 "$MOTE" get a.img types 99
expect test_get_of_several_keys 0 "$MOTE" get a.img types 7 2 7 1
{ head -n 1 expected.csv; for k in 7 2 7 1; do "$MOTE" get a.img types $k --no-header; done; } >want
same test_get_of_several_keys_prints_them_in_their_order want out
expect test_get_of_several_keys_with_missing_ones_is_refused 1 "$MOTE" get a.img types 98 3 99 4 --columns k
printf 'k\n3\n4\n' >want; same test_get_of_several_keys_prints_those_found want out
says test_get_of_several_keys_names_the_first_missing err 'no row with the key 98'
says test_get_of_several_keys_names_the_other_missing err 'no row with the key 99'
expect test_get_of_several_keys_as_json 1 "$MOTE" get a.img types 98 3 4 --columns k --json
printf 'null\n{"k":3}\n{"k":4}\n' >want; same test_get_of_several_keys_as_json_has_a_line_for_each want out
expect test_scan_columns_in_order 0 "$MOTE" scan a.img types --columns f64,k --limit 2
printf 'f64,k\n0.1,1\n-0,2\n' >want; same test_scan_columns_gives_these_columns want out
expect test_scan_descending 0 "$MOTE" scan a.img types --columns k --desc --limit 3 --no-header
printf '8\n7\n6\n' >want; same test_scan_descending_begins_at_the_last_key want out
expect test_scan_key_range 0 "$MOTE" scan a.img types --columns k --key-from 3 --key-to 5 --no-header
printf '3\n4\n5\n' >want; same test_scan_key_range_includes_both_ends want out
expect test_scan_key 0 "$MOTE" scan a.img types --columns k --key 4 --no-header
printf '4\n' >want; same test_scan_key_gives_this_row want out

# ---- Infers types; two-column key; time range; replaces by key ----
cat >joints.csv <<'CSV'
arm,at,q,ok,name,id
b,2026-01-01T00:00:02Z,1.5,true,x,007
a,2026-01-01T00:00:01Z,-2,false,y,008
a,2026-01-01T00:00:03.5+00:00,3,true,,009
b,2026-01-01T00:00:01Z,4.25,true,z,010
CSV
expect test_ingest_with_two_key_columns 0 "$MOTE" ingest --quiet a.img joints joints.csv --key arm,at --time-column at
expect test_info_json 0 "$MOTE" info a.img --json
for pair in '"name":"arm","type":"text"' '"name":"at","type":"timestamp"' '"name":"q","type":"float64"' '"name":"ok","type":"bool"' '"name":"id","type":"text"'; do
    says test_ingest_infers_types out "$pair"
done
expect test_scan_by_key_order 0 "$MOTE" scan a.img joints --time-format rfc3339
cat >want <<'CSV'
arm,at,q,ok,name,id
a,2026-01-01T00:00:01Z,-2,false,y,008
a,2026-01-01T00:00:03.5Z,3,true,,009
b,2026-01-01T00:00:01Z,4.25,true,z,010
b,2026-01-01T00:00:02Z,1.5,true,x,007
CSV
same test_scan_is_in_key_order want out
expect test_scan_time_range 0 "$MOTE" scan a.img joints --from 2026-01-01T00:00:01.5Z --to 1767225602s --columns q --no-header
printf '1.5\n' >want; same test_scan_time_range_gives_the_rows_between want out
expect test_scan_key_prefix 0 "$MOTE" scan a.img joints --key b --columns q --no-header
printf '4.25\n1.5\n' >want; same test_scan_key_prefix_gives_the_rows_of_the_prefix want out
expect test_scan_key_prefix_and_time 0 "$MOTE" scan a.img joints --key a --from 2026-01-01T00:00:02Z --columns q --no-header
printf '3\n' >want; same test_scan_key_prefix_and_time_gives_both want out
expect test_get_by_two_words 0 "$MOTE" get a.img joints b 2026-01-01T00:00:02Z --columns q --no-header
expect test_get_of_several_wide_keys 0 "$MOTE" get a.img joints b,2026-01-01T00:00:02Z a,2026-01-01T00:00:01Z --many --columns q --no-header
printf '1.5\n-2\n' >want; same test_get_of_several_wide_keys_prints_them_in_their_order want out
expect test_get_of_several_keys_refuses_a_short_one 2 "$MOTE" get a.img joints b,2026-01-01T00:00:02Z a --many
printf 'at,arm,q\n2026-01-01T00:00:02Z,b,99\n' >again.csv
expect test_ingest_of_fewer_columns_in_other_order 0 "$MOTE" ingest --quiet a.img joints again.csv
expect test_get_after_replacement 0 "$MOTE" get a.img joints b,2026-01-01T00:00:02Z --columns q,ok --no-header
printf '99,\n' >want; same test_ingest_replaces_the_row_with_the_same_key want out
expect test_scan_count 0 "$MOTE" scan a.img joints --count
equal test_scan_count_after_replacement_is_unchanged "$(cat out)" 4

# ---- Aggregates and latest rows ----
expect test_latest 0 "$MOTE" latest a.img joints --columns arm,at,q --time-format rfc3339
printf 'arm,at,q\na,2026-01-01T00:00:03.5Z,3\nb,2026-01-01T00:00:02Z,99\n' >want; same test_latest_gives_the_newest_row_of_each_series want out
expect test_latest_as_of_a_time 0 "$MOTE" latest a.img joints --columns q --to 2026-01-01T00:00:01.5Z --no-header --desc
printf '4.25\n-2\n' >want; same test_latest_as_of_a_time_gives_the_newest_then want out
expect test_latest_of_one_series 0 "$MOTE" latest a.img joints --key b --columns q --no-header
printf '99\n' >want; same test_latest_of_one_series_gives_its_row want out
expect test_aggregate_of_all_rows 0 "$MOTE" aggregate a.img joints
printf 'rows,q_count,q_min,q_max,q_mean,ok_count,ok_min,ok_max,ok_mean\n4,4,-2,99,26.0625,3,false,true,0.6666666666666666\n' >want; same test_aggregate_takes_the_numeric_columns want out
expect test_aggregate_by_series_and_bucket 0 "$MOTE" aggregate a.img joints --by-series --bucket 2s --columns q --functions sum,first,last --time-format rfc3339
cat >want <<'CSV'
arm,at,rows,q_sum,q_first,q_last
a,2026-01-01T00:00:00Z,1,-2,-2,-2
a,2026-01-01T00:00:02Z,1,3,3,3
b,2026-01-01T00:00:00Z,1,4.25,4.25,4.25
b,2026-01-01T00:00:02Z,1,99,99,99
CSV
same test_aggregate_by_series_and_bucket_gives_each want out
expect test_aggregate_of_text_counts 0 "$MOTE" aggregate a.img joints --columns name --functions count --bucket 1d --origin 2026-01-01T00:00:01Z --from 2026-01-01T00:00:02Z --json
printf '{"at":1767225601000000000,"rows":2,"name_count":0}\n' >want; same test_aggregate_as_json want out

# ---- stdin, given header, other delimiter, CRLF, byte order mark, no final line end, blank lines ----
printf '\357\273\277x;y\r\n1;"a;b"\r\n\r\n2;c' | "$MOTE" ingest --quiet a.img odd - --delimiter ';' 2>err || fail test_ingest_odd_csv "$(cat err)"
expect test_scan_odd 0 "$MOTE" scan a.img odd
printf 'x,y\n1,a;b\n2,c\n' >want; same test_ingest_reads_odd_csv want out
printf '5,e\n' | "$MOTE" ingest --quiet a.img odd --header x,y 2>err || fail test_ingest_given_header "$(cat err)"
expect test_scan_odd_again 0 "$MOTE" scan a.img odd --desc --limit 1 --no-header
printf '5,e\n' >want; same test_ingest_given_header_takes_the_first_line want out
# A producer that pauses must not hold back what it has sent.
(printf 'n\n1\n2\n'; sleep 1.5; printf '3\n') | "$MOTE" ingest --quiet a.img slow - --ack slow.ack || fail test_ingest_slow
equal test_ingest_of_a_pausing_input_acknowledges_before_the_pause "$(head -n 1 slow.ack)" 2
equal test_ingest_of_a_pausing_input_acknowledges_all "$(tail -n 1 slow.ack)" 3

# ---- Every durability level and backend; the same rows come back ----
"$MOTE" generate arm --rows 3000 --seed 7 >arm.csv
for level in sync group periodic:5 none; do
    expect "test_ingest_durability_$level" 0 "$MOTE" ingest --quiet a.img "arm_${level%:*}" arm.csv --durability "$level" --batch 100 --ack "ack_${level%:*}" --time-column time_s
    equal "test_ingest_durability_${level}_acknowledges_all" "$(tail -n 1 "ack_${level%:*}")" 3000
    expect scan 0 "$MOTE" scan a.img "arm_${level%:*}"
    same "test_scan_after_durability_${level}_is_bit_identical" arm.csv out
done
for backend in io_uring libaio threads; do
    if "$MOTE" info a.img --backend $backend >/dev/null 2>&1; then
        expect "test_ingest_backend_$backend" 0 "$MOTE" ingest --quiet a.img "arm_$backend" arm.csv --backend $backend
        expect scan 0 "$MOTE" scan a.img "arm_$backend" --backend $backend
        same "test_scan_backend_${backend}_is_bit_identical" arm.csv out
    else
        echo "SKIPPED backend $backend: this kernel denies it"
    fi
done
expect test_ingest_inline_io 0 "$MOTE" ingest --quiet a.img arm_inline arm.csv --inline-io --ack ack_inline
equal test_ingest_inline_io_acknowledges_all "$(tail -n 1 ack_inline)" 3000
expect test_ingest_preset_edge 0 "$MOTE" ingest --quiet a.img arm_edge arm.csv --preset edge
expect scan 0 "$MOTE" scan a.img arm_edge
same test_scan_preset_edge_is_bit_identical arm.csv out
expect test_ingest_paced 0 "$MOTE" ingest --json a.img arm_paced arm.csv --rate 6000
took=$(json out seconds)
if awk -v t="$took" 'BEGIN { exit !(t >= 0.49 && t < 3) }'; then pass; else fail test_ingest_rate_paces_the_rows "3000 rows at 6000 rows/s took $took s"; fi
expect test_flush 0 "$MOTE" flush a.img --json
expect test_checkpoint 0 "$MOTE" checkpoint a.img --json
equal test_checkpoint_leaves_nothing_pending "$(json out pending_updates)" 0
expect test_verify_after_all_this 0 "$MOTE" verify a.img
for table in types joints odd arm_sync arm_edge; do
    expect scan 0 "$MOTE" scan a.img $table
    cp out "$table.again"
done
same test_scan_after_checkpoint_is_bit_identical expected.csv types.again
same test_scan_after_checkpoint_of_arm_is_bit_identical arm.csv arm_edge.again

# ---- Calibration: the choice is recorded, the rows stay ----
expect test_calibrate_dry_run 0 "$MOTE" calibrate a.img --dry-run --case-ms 10 --scratch 8M
says test_calibrate_explains out 'durable writes a second as FLUSH'
says test_calibrate_dry_run_records_nothing out 'would record: '
expect test_calibrate 0 "$MOTE" calibrate a.img --json --case-ms 10 --scratch 8M
equal test_calibrate_before_is_nothing "$(json out barrier_before)" 'none recorded'
equal test_calibrate_measures_all_cases "$(grep -o '"kind"' out | wc -l)" 23
barrier=$(json out barrier)
expect info 0 "$MOTE" info a.img --json
equal test_info_shows_the_calibrated_barrier "$(json out barrier)" "$barrier"
expect test_verify_after_calibrate 0 "$MOTE" verify a.img
expect scan 0 "$MOTE" scan a.img arm_edge
same test_scan_after_calibrate_is_bit_identical arm.csv out
expect test_calibrate_scratch_too_small 2 "$MOTE" calibrate a.img --scratch 1M

# ---- Trims and wear ----
expect test_info_shows_wear 0 "$MOTE" info a.img --rated-tbw 0.5
says test_info_tells_what_was_written_by_source out ': log '
says test_info_says_why_the_wear_is_unknown out 'unknown (not a block device)'
expect info 0 "$MOTE" info a.img --json --rated-tbw 0.5
equal test_info_takes_the_rating "$(json out rated_bytes)" 500000000000
at_least test_info_counts_the_log "$(json out written_wal_bytes)" 4096
at_least test_info_counts_the_calibration "$(json out written_other_bytes)" 4194304
equal test_info_adds_the_sources "$(json out written_bytes)" $(($(json out written_wal_bytes) + $(json out written_flush_bytes) + $(json out written_compaction_bytes) + $(json out written_index_bytes) + $(json out written_manifest_bytes) + $(json out written_superblock_bytes) + $(json out written_other_bytes) + $(json out written_blob_bytes)))
expect test_trim_dry_run 0 "$MOTE" trim a.img --dry-run --json
at_least test_trim_dry_run_counts "$(json out trimmed_bytes)" 1048576
expect test_trim_of_an_image_is_refused 3 "$MOTE" trim a.img
says test_trim_of_an_image_says_why err 'image file'
expect test_trim_with_holes 0 "$MOTE" trim a.img --punch-holes
says test_trim_says_how_much out 'trimmed '
expect test_verify_after_trim 0 "$MOTE" verify a.img
expect scan 0 "$MOTE" scan a.img arm_edge
same test_scan_after_trim_is_bit_identical arm.csv out

# ---- Real recordings ----
# recording NAME FILE TIME_COLUMN
recording() {
    if [ ! -f "$2" ]; then
        echo "SKIPPED $1: $2 is not here"
        return
    fi
    volume real.img 256M
    expect "test_ingest_$1" 0 "$MOTE" ingest --quiet real.img "$1" "$2" --time-column "$3"
    expect "test_scan_$1" 0 "$MOTE" scan real.img "$1"
    if python3 - "$2" out <<'PYTHON'
import csv, struct, sys
with open(sys.argv[1]) as a, open(sys.argv[2]) as b:
    rows = 0
    for x, y in zip(csv.reader(a), csv.reader(b), strict=True):
        if rows and (len(x) != len(y) or any(struct.pack("d", float(p)) != struct.pack("d", float(q)) for p, q in zip(x, y))):
            sys.exit(f"row {rows} differs")
        rows += 1
PYTHON
    then pass; else fail "test_scan_${1}_gives_identical_values"; fi
    expect info 0 "$MOTE" info real.img --json
    local rows bytes
    rows=$(($(wc -l <"$2") - 1)) bytes=$(json out segment_bytes)
    sqlite3 real.db ".mode csv" ".import '$2' t" "vacuum"
    zstd -q -3 -f "$2" -o real.zst
    echo "$1: $rows rows; bytes per row: mote $((bytes / rows)), csv $(($(stat -Lc %s "$2") / rows)), csv+zstd $(($(stat -c %s real.zst) / rows)), sqlite $(($(stat -c %s real.db) / rows))"
    rm -f real.img real.db real.zst
}
recording franka "$DATA/arm-franka-1khz/panda_1khz.csv" time_s
recording ur10 "$DATA/arm-ur10/ur10_joint_states.csv" timestamp_ns

vibration=$(ls "$DATA"/vibration-cwru/12k_*_122571x3_*.f32 2>/dev/null | head -n 1)
if [ -n "$vibration" ]; then
    python3 - "$vibration" >vibration.csv <<'PYTHON'
import struct, sys
data = open(sys.argv[1], "rb").read()
print("de,fe,ba")
for row in struct.iter_unpack("<fff", data):
    print(",".join("%.9g" % value for value in row))
PYTHON
    volume real.img 256M
    expect test_ingest_vibration 0 "$MOTE" ingest --quiet real.img vibration vibration.csv --types de:float32,fe:float32,ba:float32
    expect test_scan_vibration 0 "$MOTE" scan real.img vibration --no-header
    python3 -c 'import struct, sys
out = open("vibration.f32", "wb")
for line in open("out"):
    out.write(struct.pack("<3f", *map(float, line.split(","))))'
    same test_scan_vibration_gives_identical_floats "$vibration" vibration.f32
    expect info 0 "$MOTE" info real.img --json
    rows=$(($(stat -Lc %s "$vibration") / 12))
    zstd -q -3 -f vibration.csv -o real.zst
    sqlite3 real.db ".mode csv" ".import vibration.csv t" "vacuum"
    echo "vibration: $rows rows; bytes per row: mote $(($(json out segment_bytes) / rows)), raw 12, csv $(($(stat -c %s vibration.csv) / rows)), csv+zstd $(($(stat -c %s real.zst) / rows)), sqlite $(($(stat -c %s real.db) / rows))"
else
    echo "SKIPPED vibration: $DATA/vibration-cwru is not here"
fi
finish
