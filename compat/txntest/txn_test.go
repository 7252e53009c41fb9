package txntest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"millrace/compat/history"
	"millrace/compat/target"
)

// cycles is 200, or what CYCLES says.
func cycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CYCLES")
	if text == "" {
		return 200
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("CYCLES=%s: want a number of kills", text)
	}
	return n
}

func options(t *testing.T) Options {
	t.Helper()
	kind, err := target.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEED=%s: %v", text, err)
		}
	}
	return Options{Target: target.Options{Kind: kind}, Seed: seed, Log: os.Stdout, Libraries: Libraries()}
}

// TestTransactions is the promise: kill -9 of the real binary under transactions
// of four libraries loses, tears, doubles and invents nothing.
func TestTransactions(t *testing.T) {
	o := options(t)
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
