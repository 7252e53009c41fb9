// Command bench measures Millrace beside Apache Kafka on this machine, in one
// run, and prints one table. It asserts nothing: figures of one run on a shared
// machine are for reading, and ratios are what to read. A run whose counts are
// wrong is void and says so.
//
// The environment sets its size; the defaults are the full form.
//
//	ROUNDS  rounds of A B A B, of which the median counts (5)
//	EVENTS  records per round of the throughput rows (5000000); the rows of counts
//	        and commits take twice as many, but three fifths with a million users
//	KEYS    of the job whose state is restored (10000000), and, up to a million,
//	        of the one that is killed
//	SIZE    GB on disk for the rows about restart and memory (10)
//	SINGLES records of the one-at-a-time rows (2000)
//	ROWS    regular expression of the sections to run (all)
//	TARGET  kafka measures Kafka against itself
//	JSON    where the figures go (.cache/bench.json)
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/target"
)

type settings struct {
	rounds  int
	events  int
	sizeGB  int
	singles int
	keys    int
	rows    *regexp.Regexp
	json    string
	kind    target.Kind // what is measured: Kafka against itself proves the bench
}

func fromEnv() (settings, error) {
	var faults []error
	number := func(name string, unset int) int {
		text := os.Getenv(name)
		if text == "" {
			return unset
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			faults = append(faults, fmt.Errorf("%s=%s: want a number above 0", name, text))
		}
		return n
	}
	s := settings{
		rounds: number("ROUNDS", 5), events: number("EVENTS", 5_000_000),
		sizeGB: number("SIZE", 10), singles: number("SINGLES", 2000), keys: number("KEYS", 10_000_000),
		json: cmp.Or(os.Getenv("JSON"), filepath.Join(foreign.Cache(), "bench.json")),
	}
	rows, err := regexp.Compile(os.Getenv("ROWS"))
	if err != nil {
		faults = append(faults, err)
	}
	s.rows = rows
	if s.kind, err = target.FromEnv(); err != nil {
		faults = append(faults, err)
	}
	return s, errors.Join(faults...)
}

// sections are the parts of a run, in order. Each starts its own brokers.
var sections = []struct {
	name    string
	measure func(context.Context, settings, *table) error
}{
	{"throughput", throughput},
	{"single", singles},
	{"start", starts},
	{"size", sizes},
	{"transactions", transactions},
	{"compaction", compaction},
	{"counts", counts},
	{"results", results},
	{"commits", commits},
	{"resume", resume},
	{"restore", restore},
	{"latency", latency},
	{"connections", connections},
	{"partitions", partitions},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	s, err := fromEnv()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &table{began: time.Now(), machine: machine()}
	if _, _, err := foreign.Kafka(); err != nil {
		foreign.LeaveOut("every figure of Kafka", err)
		t.withoutKafka = true
	}
	for _, section := range sections {
		if !s.rows.MatchString(section.name) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s …\n", section.name)
		if err := section.measure(ctx, s, t); err != nil {
			t.void(section.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s took %s\n", section.name, time.Since(began).Round(time.Second))
		if ctx.Err() != nil {
			break
		}
	}
	t.print(os.Stdout)
	foreign.PrintLeftOut(os.Stdout)
	return t.write(s.json)
}
