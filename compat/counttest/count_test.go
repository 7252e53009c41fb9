package counttest

import (
	"fmt"
	"os"
	"testing"

	"millrace/compat/foreign"
	"millrace/compat/target"
)

// needs leaves a test out whose flag the binary does not have.
func needs(t *testing.T, what, flag string) {
	t.Helper()
	if !target.HasFlag("serve", flag) {
		foreign.LeaveOut(what, fmt.Errorf("millrace serve has no flag --%s", flag))
		t.Skipf("LEFT OUT: millrace serve has no flag --%s", flag)
	}
}

// count runs as many cycles as wanted, or fewer where CYCLES shortens all.
func count(t *testing.T, o Options) {
	t.Helper()
	cycles, err := target.NumberFromEnv("CYCLES", 200)
	if err != nil {
		t.Fatal(err)
	}
	o.Cycles, o.Log = max(5, int(uint64(o.Cycles)*min(200, cycles)/200)), os.Stdout
	if o.Seed, err = target.SeedFromEnv(); err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Floor(o.Cycles); err != nil {
		t.Fatal(err)
	}
}

// TestEmbedded is the promise on one machine: 100 kills and pauses of broker and
// job in one process, and every number is right.
func TestEmbedded(t *testing.T) {
	needs(t, "the count in one process", "results")
	count(t, Options{Cycles: 100})
}

// TestCluster is the promise on a cluster: 50 kills and pauses of three instances
// and of the three Kafka brokers under them.
func TestCluster(t *testing.T) {
	if _, _, err := foreign.Kafka(); err != nil {
		foreign.LeaveOut("the count on a Kafka cluster", err)
		t.Skipf("LEFT OUT: %v", err)
	}
	needs(t, "the count on a Kafka cluster", "instance-id")
	count(t, Options{Cluster: true, Cycles: 50})
}

// TestMain names what was left out; STRICT=1 makes that a failure.
func TestMain(m *testing.M) {
	code := m.Run()
	if foreign.PrintLeftOut(os.Stdout) > 0 && os.Getenv("STRICT") == "1" && code == 0 {
		code = 1
	}
	os.Exit(code)
}
