package killtest

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	return Options{Target: target.Options{Kind: kind}, Seed: seed, Log: os.Stdout}
}

// TestKill is the promise: kill -9 of the real binary under load loses,
// doubles and moves nothing that was acknowledged, and no committed offset
// goes back.
func TestKill(t *testing.T) {
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

// TestKillFindsLoss plants what a broker without syncs does in a power cut:
// the end of one log is gone after the kill. The checker must say so.
func TestKillFindsLoss(t *testing.T) {
	o := options(t)
	o.Cycles, o.Log = 5, nil
	o.WhileDown = func(cycle int, b *target.Broker) error {
		if cycle < 3 {
			return nil
		}
		if err := os.Remove(filepath.Join(b.DataDir, "recovery-point-offset-checkpoint")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return cutHalf(filepath.Join(b.DataDir, "kill-narrow-0", "00000000000000000000.log"))
	}
	_, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "LOST") && !strings.Contains(err.Error(), "MOVED") {
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

// TestJournal feeds the checker histories with one fault each.
func TestJournal(t *testing.T) {
	p, q := partition{"kill-wide", 0}, partition{"kill-wide", 1}
	value := func(writer int32, seq int64, p partition) []byte {
		return label{writer, seq, p.Topic, p.Index}.encode()
	}
	const plain, idem = 1, 0
	for _, c := range []struct {
		name  string
		store func(*journal) error
		acks  []ack
		want  string // part of the complaint; empty for none
	}{
		{"kept", func(j *journal) error { return j.stored(p, 0, value(idem, 7, p)) },
			[]ack{{id{idem, 7}, p, 0}}, ""},
		{"lost at the end", func(j *journal) error { return nil },
			[]ack{{id{idem, 7}, p, 0}}, "LOST"},
		{"replaced", func(j *journal) error { return j.stored(p, 0, value(plain, 1, p)) },
			[]ack{{id{idem, 7}, p, 0}}, "LOST"},
		{"moved", func(j *journal) error {
			return errors.Join(j.stored(p, 0, value(plain, 1, p)), j.stored(p, 1, value(idem, 7, p)))
		}, []ack{{id{idem, 7}, p, 0}}, "MOVED"},
		{"doubled", func(j *journal) error {
			return errors.Join(j.stored(p, 0, value(idem, 7, p)), j.stored(p, 1, value(idem, 7, p)))
		}, nil, "DOUBLED"},
		{"repeated by a plain writer", func(j *journal) error {
			return errors.Join(j.stored(p, 0, value(plain, 7, p)), j.stored(p, 1, value(plain, 7, p)))
		}, []ack{{id{plain, 7}, p, 1}}, ""},
		{"in the wrong partition", func(j *journal) error { return j.stored(q, 0, value(idem, 7, p)) }, nil, "MOVED"},
		{"a gap", func(j *journal) error { return j.stored(p, 1, value(idem, 7, p)) }, nil, "follows"},
		{"damaged", func(j *journal) error {
			v := value(idem, 7, p)
			binary.BigEndian.PutUint64(v[4:], 8)
			return j.stored(p, 0, v)
		}, nil, "damaged"},
		{"changed later", func(j *journal) error {
			return errors.Join(j.stored(p, 0, value(idem, 7, p)), j.unchanged(p, 0, value(idem, 8, p)))
		}, nil, "now holds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal()
			err := errors.Join(c.store(j), j.kept(c.acks))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the checker says %v, want %q", err, c.want)
			}
		})
	}
}
