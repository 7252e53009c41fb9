// Command soak is the long run: damaged frames, then kill -9 cycles of records,
// transactions and the count in turn until the time is over, beside a broker
// under steady load whose memory, descriptors and threads must stay flat. It ends
// with the first broken promise.
//
//	DURATION  how long in all (8h)
//	FRAMES    damaged frames, of which at most a third of the time is spent (5000000)
//	SEED      replays a run's frames and kill times (from the clock)
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"millrace/compat/counttest"
	"millrace/compat/frames"
	"millrace/compat/killtest"
	"millrace/compat/target"
	"millrace/compat/txntest"
)

// cyclesPerRun is after how many kills the data directory is a new one: the
// final reading of a run grows with what was written.
const cyclesPerRun = 200

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run() error {
	duration, err := time.ParseDuration(cmp.Or(os.Getenv("DURATION"), "8h"))
	if err != nil {
		return fmt.Errorf("DURATION: %w", err)
	}
	count, err := target.NumberFromEnv("FRAMES", 5_000_000)
	if err != nil {
		return err
	}
	seed, err := target.SeedFromEnv()
	if err != nil {
		return err
	}
	kind, err := target.FromEnv()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Printf("soak of %s, seed %d\n", duration, seed)
	return soak(ctx, target.Options{Kind: kind}, duration, int(count), seed)
}

func soak(ctx context.Context, o target.Options, duration time.Duration, count int, seed uint64) error {
	began := time.Now()
	steady, err := startSteady(ctx, o)
	if err != nil {
		return err
	}
	defer steady.stop()
	attack, err := frames.Attack(ctx, frames.Options{Target: o, Frames: count, Seed: seed, Until: began.Add(duration / 3), Log: os.Stdout})
	fmt.Println("frames:", attack)
	if err != nil {
		return err
	}
	if err := kills(ctx, o, began.Add(duration), seed); err != nil {
		return err
	}
	return steady.verdict()
}

// kills runs the kill tests in turn until the time is over: records, then
// transactions, then the count.
func kills(ctx context.Context, o target.Options, until time.Time, seed uint64) error {
	for run := seed; time.Now().Before(until); run++ {
		for _, test := range []func(context.Context, target.Options, time.Time, uint64) error{records, transactions, clicks} {
			if err := test(ctx, o, until, run); err != nil {
				return err
			}
			if !time.Now().Before(until) {
				return nil
			}
		}
	}
	return nil
}

func records(ctx context.Context, o target.Options, until time.Time, seed uint64) error {
	report, err := killtest.Run(ctx, killtest.Options{Target: o, Cycles: cyclesPerRun, Until: until, Seed: seed})
	fmt.Println("records:", report)
	if err == nil && report.Cycles == cyclesPerRun {
		err = report.Floor()
	}
	return err
}

func transactions(ctx context.Context, o target.Options, until time.Time, seed uint64) error {
	report, err := txntest.Run(ctx, txntest.Options{
		Target: o, Cycles: cyclesPerRun, Until: until, Seed: seed, Libraries: txntest.Libraries(),
	})
	fmt.Println("transactions:", report)
	if err == nil && report.Cycles == cyclesPerRun {
		err = report.Floor()
	}
	return err
}

// clicks is the count of Millrace's own job; there is none on a Kafka.
func clicks(ctx context.Context, o target.Options, until time.Time, seed uint64) error {
	if o.Kind == target.Kafka {
		return nil
	}
	report, err := counttest.Run(ctx, counttest.Options{Cycles: cyclesPerRun, Until: until, Seed: seed})
	fmt.Println("count:", report)
	return err
}
