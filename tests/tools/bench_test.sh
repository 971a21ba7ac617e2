#!/usr/bin/env bash
# bench_test.sh: `mote bench` runs every workload tiny on an image that it makes itself, its JSON and HTML are whole, each figure of an engine that has a ceiling has its ratio, and it destroys
# nothing that it was not told to. No figure is judged: this is no timed test. MOTE is the program under test. Ends with "N passed, N failed".
. "$(dirname "$0")/lib.sh"

expect test_bench_quick_runs_every_workload 0 "$MOTE" bench --quick --data "$DATA" --json out.json --html out.html bench.img
equal test_bench_removes_the_image_it_made "$(ls bench.img 2>/dev/null)" ""
python3 - out.json out.html >check 2>&1 <<'PYTHON'
import json, sys, xml.etree.ElementTree as tree
report = json.load(open(sys.argv[1]))
figures = report["figures"]
workloads = {f["workload"] for f in figures}
assert workloads >= {"ceiling", "w1", "w2", "w3", "w4", "w5", "w6", "w7"}, workloads
assert {f["engine"] for f in figures} == {"device", "mote", "mote-pages", "mote-log"}
assert {f["workload"] for f in figures if f["engine"] == "mote-pages"} == {"w3", "w4"}
assert {f["workload"] for f in figures if f["engine"] == "mote-log"} == {"w1"}
for f in figures:
    assert f["min"] <= f["median"] <= f["max"], f
    assert len(f["values"]) == report["rounds"], f
    if f["engine"] == "mote" and f["ceiling"]:
        assert abs(f["ratio"] - f["median"] / f["ceiling"]) <= 1e-6 * f["ratio"] + 1e-9, f
leading = {("w1", "rows_per_s"), ("w2", "rows_per_s"), ("w3", "rows_per_s"), ("w4", "rows_per_s"), ("w5", "reopen_s"), ("w6", "us_p50")}
for f in figures:
    if f["engine"] == "mote" and (f["workload"], f["metric"]) in leading:
        assert f["ratio"] is not None and f["median"] > 0, f
assert all(f["median"] == 0 for f in figures if f["metric"] == "rows_lost")
assert len({f["case"] for f in figures if f["workload"] == "w1"}) == 18
pushes = {(f["case"], f["metric"]): f["median"] for f in figures if f["workload"] == "w7"}
assert {f["engine"] for f in figures if f["workload"] == "w7"} == {"mote"}
for rate in "1 kHz", "48 kHz x 8":
    for case in "plain copy", "idle", "full ingest", "rewriting ingest":
        of = lambda metric: pushes[f"{rate}, {case}", metric]
        assert 0 <= of("ns_p50") <= of("ns_p99") <= of("ns_p999") <= of("ns_p9999") <= of("ns_max") and of("ns_mean") > 0 and of("ns_clock") > 0, (rate, case)
        assert 0 <= of("jitter_us_p99") <= of("jitter_us_max"), (rate, case)
        if case != "plain copy":
            assert of("dropped") >= 0 and 0 < of("ring_used_percent") <= 100, (rate, case)
    assert pushes[f"{rate}, full ingest", "ingest_rows_per_s"] > 0
assert pushes["back to back", "ns_mean"] > 0 and pushes["back to back", "dropped"] == 0
html = open(sys.argv[2]).read()
assert html.count("<svg") >= 6 and html.count("<svg") == html.count("</svg>") and "http" not in html.replace("http://www.w3.org", "")
for part in html.split("<svg")[1:]:
    tree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
print("whole")
PYTHON
equal test_bench_report_is_whole "$(tail -n 1 check)" whole

printf 'precious' >precious
cp precious before
expect test_bench_refuses_what_exists 2 "$MOTE" bench --quick --workloads ceiling precious
same test_bench_leaves_what_it_refuses before precious
expect test_bench_unknown_workload_is_usage 2 "$MOTE" bench --quick --workloads w99 bench.img
expect test_bench_unknown_engine_is_usage 2 "$MOTE" bench --quick --engines nothing bench.img
expect test_bench_without_path_is_usage 2 "$MOTE" bench --quick
expect test_bench_bad_number_is_usage 2 "$MOTE" bench --rounds 0 bench.img
expect test_bench_below_dev_makes_no_file 3 "$MOTE" bench --quick --workloads ceiling /dev/mote-bench-test
equal test_bench_makes_no_file_below_dev "$(ls /dev/mote-bench-test 2>/dev/null)" ""
expect test_bench_help_is_good 0 "$MOTE" bench --help
says test_bench_help_says_destroyed out 'PATH IS DESTROYED'
expect test_bench_list_is_good 0 "$MOTE" bench --list
says test_bench_list_names_mote out 'mote'
"$MOTE" bench --quick --workloads ceiling --write-bytes 8K --barrier flush --json - bench.img >one.json 2>err
equal test_bench_one_size_measures_four_depths "$(grep -c '"metric":"per_s"' one.json)" 4
finish
