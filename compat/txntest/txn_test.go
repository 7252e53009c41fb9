package txntest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/compat/foreign"
	"millrace/compat/history"
	"millrace/compat/probe"
	"millrace/compat/target"
)

// cycles is 200, or what CYCLES says.
func cycles(t *testing.T) int {
	t.Helper()
	n, err := target.NumberFromEnv("CYCLES", 200)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func options(t *testing.T) Options {
	t.Helper()
	kind, err := target.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := target.SeedFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	return Options{Target: target.Options{Kind: kind}, Seed: seed, Log: os.Stdout, Libraries: Libraries()}
}

// needs leaves the test out while the broker serves no transactions.
func needs(t *testing.T, o Options) {
	t.Helper()
	b, err := target.Start(t.Context(), o.Target)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	conn, err := probe.Dial(t.Context(), b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	served, err := conn.Served()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := served[int16(kmsg.EndTxn)]; !ok {
		foreign.LeaveOut("transactions", errors.New("the broker does not advertise EndTxn"))
		t.Skip("LEFT OUT: the broker does not advertise EndTxn")
	}
}

// TestMain names what was left out; STRICT=1 makes that a failure.
func TestMain(m *testing.M) {
	code := m.Run()
	if foreign.PrintLeftOut(os.Stdout) > 0 && os.Getenv("STRICT") == "1" && code == 0 {
		code = 1
	}
	os.Exit(code)
}

// TestTransactions is the promise: kill -9 of the real binary under transactions
// of four libraries loses, tears, doubles and invents nothing.
func TestTransactions(t *testing.T) {
	o := options(t)
	needs(t, o)
	o.Cycles = cycles(t)
	report, err := Run(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Floor(); err != nil {
		t.Fatal(err)
	}
}

// TestFindsLoss plants what a broker without syncs does in a power cut: the end
// of one log is gone after the kill. The checker must say so.
func TestFindsLoss(t *testing.T) {
	o := options(t)
	needs(t, o)
	o.Cycles, o.Log = 2, nil
	o.WhileDown = func(cycle int, b *target.Broker) error {
		if cycle < 2 {
			return nil
		}
		if err := os.Remove(filepath.Join(b.DataDir, "recovery-point-offset-checkpoint")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return cutHalf(filepath.Join(b.DataDir, "txn-narrow-0", "00000000000000000000.log"))
	}
	_, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "LOST WRITE") && !strings.Contains(err.Error(), "MOVED") {
		t.Fatalf("half a log was cut off and the checker says: %v", err)
	}
}

func cutHalf(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	batches, err := probe.Batches(raw)
	if err != nil {
		return err
	}
	keep := 0
	for _, b := range batches[:len(batches)/2] {
		keep += b.Bytes
	}
	return os.Truncate(path, int64(keep+1))
}

// liar does now and then the opposite of what it is asked, and says that all
// went well: what a broker that mixes up decisions looks like from outside.
type liar struct {
	Producer
	commits, aborts bool // commits what it should abort, and the reverse
	calls           int
}

func (l *liar) Abort(ctx context.Context) error {
	if l.commits {
		return l.Producer.Commit(ctx)
	}
	return l.Producer.Abort(ctx)
}

func (l *liar) Commit(ctx context.Context) error {
	if l.calls++; l.aborts && l.calls%2 == 0 {
		return l.Producer.Abort(ctx)
	}
	return l.Producer.Commit(ctx)
}

// TestFindsLies plants decisions that are turned round on the way, and each is
// found through a real broker and real readers.
func TestFindsLies(t *testing.T) {
	for _, c := range []struct {
		want history.Kind
		liar liar
	}{
		{history.AbortedGot, liar{commits: true}},
		{history.Lost, liar{aborts: true}},
	} {
		t.Run(string(c.want), func(t *testing.T) {
			o := options(t)
			needs(t, o)
			o.Cycles, o.Log = 1, nil
			honest := Libraries()[0]
			o.Libraries = []Library{honest, {"liar", func(ctx context.Context, addr, id string, timeout time.Duration) (Producer, error) {
				p, err := honest.Open(ctx, addr, id, timeout)
				lying := c.liar
				lying.Producer = p
				return &lying, err
			}}}
			// The liar's own chance may give it nothing to turn round.
			var err error
			for run := uint64(0); run < 10 && err == nil; run++ {
				o.Seed += run
				_, err = Run(t.Context(), o)
			}
			if err == nil || !strings.Contains(err.Error(), string(c.want)) {
				t.Fatalf("want %s, the checker says: %v", c.want, err)
			}
		})
	}
}

// TestLabel: what is encoded is decoded, and any damage to it is found.
func TestLabel(t *testing.T) {
	id, p := history.ID{Writer: 3, Life: 14, Txn: 15, N: 9}, history.Partition{Topic: "txn-wide", Index: 2}
	value := encode(id, p)
	if gotID, gotP, err := decode(value); err != nil || gotID != id || gotP != p {
		t.Fatalf("%q is decoded as %v in %v, %v", value, gotID, gotP, err)
	}
	for i := range value {
		damaged := append([]byte{}, value...)
		damaged[i] ^= 1
		if _, _, err := decode(damaged); err == nil {
			t.Errorf("%q is decoded without an error", damaged)
		}
	}
}
