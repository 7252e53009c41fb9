package txn

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"millrace/record"
)

var part = []record.TopicPartition{{Topic: "t", Partition: 1}}

// at is a producer 7 of epoch 5 in a state, after a transaction of the version.
func at(s State, v Version) Txn {
	t := Txn{State: s, Producer: Producer{7, 5}, PrevID: 7, NextID: None, LastEpoch: 4, TimeoutMs: 1000, Version: v, StartedAt: 100, ChangedAt: 100}
	if s == Ongoing || s.Prepared() {
		t.Partitions = part
	}
	return t
}

// outcome is a step in words.
func outcome(s Step, err error) string {
	switch {
	case err != nil && s.Store:
		return fmt.Sprintf("%v, then %v", s.Next.State, err)
	case err != nil:
		return err.Error()
	case s.Store:
		return fmt.Sprintf("%v %d/%d", s.Next.State, s.Answer.ID, s.Answer.Epoch)
	}
	return fmt.Sprintf("unchanged %d/%d", s.Answer.ID, s.Answer.Epoch)
}

// EndTxn of version 1: by state alone.
func TestEndTxnV1(t *testing.T) {
	for s, want := range map[State][2]string{ // commit, abort
		Empty:          {ErrState.Error(), ErrState.Error()},
		Ongoing:        {"PrepareCommit 7/5", "PrepareAbort 7/5"},
		PrepareCommit:  {ErrConcurrent.Error(), ErrState.Error()},
		PrepareAbort:   {ErrState.Error(), ErrConcurrent.Error()},
		CompleteCommit: {"unchanged 7/5", ErrState.Error()},
		CompleteAbort:  {ErrState.Error(), "unchanged 7/5"},
	} {
		for i, commit := range []bool{true, false} {
			if got := outcome(at(s, V1).EndTxn(200, EndRequest{Producer: Producer{7, 5}, Commit: commit})); got != want[i] {
				t.Errorf("%v, commit=%v: %s, want %s", s, commit, got, want[i])
			}
		}
		for _, p := range []Producer{{7, 4}, {7, 6}} {
			if _, err := at(s, V1).EndTxn(200, EndRequest{Producer: p, Commit: true}); !errors.Is(err, ErrFenced) {
				t.Errorf("%v, epoch %d: %v", s, p.Epoch, err)
			}
		}
	}
}

// EndTxn of version 2 (KIP-890): a request with the epoch before repeats an
// earlier one; one with the present epoch is about the present transaction.
func TestEndTxnV2(t *testing.T) {
	for s, want := range map[State][4]string{ // commit, abort; repeated commit, repeated abort
		Empty:          {ErrState.Error(), "PrepareAbort 7/6", ErrFenced.Error(), ErrFenced.Error()},
		Ongoing:        {"PrepareCommit 7/6", "PrepareAbort 7/6", ErrFenced.Error(), ErrFenced.Error()},
		PrepareCommit:  {ErrConcurrent.Error(), ErrConcurrent.Error(), ErrConcurrent.Error(), ErrState.Error()},
		PrepareAbort:   {ErrConcurrent.Error(), ErrConcurrent.Error(), ErrState.Error(), ErrConcurrent.Error()},
		CompleteCommit: {ErrState.Error(), "PrepareAbort 7/6", "unchanged 7/5", ErrState.Error()},
		CompleteAbort:  {ErrState.Error(), "PrepareAbort 7/6", ErrState.Error(), "unchanged 7/5"},
	} {
		for i := range want {
			r := EndRequest{Producer: Producer{7, 5 - int16(i/2)}, Commit: i%2 == 0, Version: V2}
			if got := outcome(at(s, V2).EndTxn(200, r)); got != want[i] {
				t.Errorf("%v, epoch %d, commit=%v: %s, want %s", s, r.Producer.Epoch, r.Commit, got, want[i])
			}
		}
		if _, err := at(s, V2).EndTxn(200, EndRequest{Producer: Producer{8, 5}, Version: V2}); !errors.Is(err, ErrUnknownProducer) {
			t.Errorf("%v, foreign producer: %v", s, err)
		}
	}
}

// When the epochs run out, the markers carry the last one, the client goes on
// with a fresh id, and a repeated request is told that id as well.
func TestEpochOverflow(t *testing.T) {
	last := Producer{7, math.MaxInt16 - 1}
	before := at(Ongoing, V2)
	before.Producer = last
	if !before.NeedsID() {
		t.Fatal("needs no id")
	}
	r := EndRequest{Producer: last, Commit: true, Version: V2, FreshID: 9}
	step, err := before.EndTxn(200, r)
	if got := outcome(step, err); got != "PrepareCommit 9/0" {
		t.Fatal(got)
	}
	if p := step.Next.Producer; p != (Producer{7, math.MaxInt16}) {
		t.Errorf("the markers have %v", p)
	}
	if err := step.Next.check(Producer{9, 0}); err != nil {
		t.Errorf("the next producer is not known: %v", err)
	}
	complete := step.Next.Complete(300)
	if complete.Producer != (Producer{9, 0}) || complete.State != CompleteCommit || complete.Partitions != nil {
		t.Errorf("complete: %+v", complete)
	}
	if got := outcome(complete.EndTxn(400, r)); got != "unchanged 9/0" {
		t.Errorf("repeated: %s", got)
	}
	if got := outcome(complete.EndTxn(400, EndRequest{Producer: last, Version: V2})); got != ErrState.Error() {
		t.Errorf("the opposite: %s", got)
	}
	// After an abort by the broker there is no fresh id: the client must ask.
	aborted := before.Abort(200).Complete(300)
	if got := outcome(aborted.EndTxn(400, EndRequest{Producer: last, Version: V2})); got != ErrFenced.Error() {
		t.Errorf("the epoch for fencing was given out: %s", got)
	}
	if got := outcome(aborted.InitProducerID(400, InitRequest{Producer: last, TimeoutMs: 5, FreshID: 9})); got != "Empty 9/0" {
		t.Errorf("go on: %s", got)
	}
}

func TestInitProducerID(t *testing.T) {
	nobody := Producer{None, None}
	takenOver := at(Empty, V2)
	takenOver.LastEpoch = None
	rotated := at(Empty, V2)
	rotated.Producer, rotated.PrevID, rotated.LastEpoch = Producer{8, 0}, 7, lastEpoch
	worn := at(CompleteAbort, V2)
	worn.Producer.Epoch = lastEpoch
	for name, c := range map[string]struct {
		t    Txn
		p    Producer
		want string
	}{
		"first":                        {New(7, 0), nobody, "Empty 7/0"},
		"first, after it had expired":  {New(7, 0), Producer{3, 9}, "Empty 7/0"},
		"new client":                   {at(Empty, V2), nobody, "Empty 7/6"},
		"new client, completed":        {at(CompleteCommit, V2), nobody, "Empty 7/6"},
		"new client, ongoing":          {at(Ongoing, V2), nobody, "PrepareAbort, then " + ErrConcurrent.Error()},
		"new client, prepared":         {at(PrepareCommit, V2), nobody, ErrConcurrent.Error()},
		"go on":                        {at(CompleteAbort, V2), Producer{7, 5}, "Empty 7/6"},
		"go on, ongoing":               {at(Ongoing, V2), Producer{7, 5}, "PrepareAbort, then " + ErrConcurrent.Error()},
		"go on, answer lost":           {at(Empty, V2), Producer{7, 4}, "Empty 7/5"},
		"go on, taken over since":      {takenOver, Producer{7, 4}, ErrFenced.Error()},
		"go on, older":                 {at(Empty, V2), Producer{7, 3}, ErrFenced.Error()},
		"go on, older, ongoing":        {at(Ongoing, V2), Producer{7, 4}, ErrFenced.Error()},
		"go on, foreign":               {at(Empty, V2), Producer{8, 5}, ErrFenced.Error()},
		"go on, epochs used up":        {worn, Producer{7, lastEpoch}, "Empty 99/0"},
		"go on, used up, answer lost":  {rotated, Producer{7, lastEpoch}, "Empty 8/0"},
		"new client, epochs used up":   {worn, nobody, "Empty 99/0"},
		"older client, epochs used up": {worn, Producer{7, 3}, ErrFenced.Error()},
	} {
		step, err := c.t.InitProducerID(200, InitRequest{Producer: c.p, TimeoutMs: 5, FreshID: 99})
		if got := outcome(step, err); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if err == nil && (step.Next.TimeoutMs != 5 || step.Next.StartedAt != record.NoTimestamp) {
			t.Errorf("%s: %+v", name, step.Next)
		}
	}
}

// A client that a timeout has fenced may go on (KIP-588), unless another came.
func TestAfterATimeout(t *testing.T) {
	running := at(Ongoing, V1)
	if running.Overdue(1099) || !running.Overdue(1100) || at(CompleteAbort, V1).Overdue(9999) {
		t.Error("the timeout counts from the first partition, while the transaction is ongoing")
	}
	aborted := running.Abort(1100).Complete(1200)
	if aborted.State != CompleteAbort || aborted.Producer != (Producer{7, 6}) {
		t.Fatalf("%+v", aborted)
	}
	if _, err := aborted.EndTxn(1300, EndRequest{Producer: Producer{7, 5}, Commit: true}); !errors.Is(err, ErrFenced) {
		t.Errorf("commit: %v", err)
	}
	if got := outcome(aborted.InitProducerID(1300, InitRequest{Producer: Producer{7, 5}, TimeoutMs: 5})); got != "Empty 7/6" {
		t.Errorf("go on: %s", got)
	}
	step, _ := aborted.InitProducerID(1300, InitRequest{Producer: Producer{None, None}, TimeoutMs: 5})
	if got := outcome(step.Next.InitProducerID(1400, InitRequest{Producer: Producer{7, 5}, TimeoutMs: 5})); got != ErrFenced.Error() {
		t.Errorf("go on after another: %s", got)
	}
}

func TestAddPartitions(t *testing.T) {
	more := []record.TopicPartition{{Topic: "u"}, {Topic: "t", Partition: 1}, {Topic: "a"}, {Topic: "u"}}
	step, err := at(CompleteCommit, V2).AddPartitions(200, AddRequest{Producer: Producer{7, 5}, Partitions: more, Version: V2})
	if err != nil || step.Next.State != Ongoing || step.Next.StartedAt != 200 {
		t.Fatalf("%+v, %v", step, err)
	}
	want := []record.TopicPartition{{Topic: "a"}, {Topic: "t", Partition: 1}, {Topic: "u"}}
	if !slices.Equal(step.Next.Partitions, want) {
		t.Errorf("partitions %v, want %v", step.Next.Partitions, want)
	}
	again, err := step.Next.AddPartitions(300, AddRequest{Producer: Producer{7, 5}, Partitions: more[:1], Version: V2})
	if err != nil || again.Store || again.Next.StartedAt != 200 {
		t.Errorf("known partitions: %+v, %v", again, err)
	}
	for s, want := range map[State]error{Empty: ErrNotAdded, Ongoing: nil, PrepareAbort: ErrConcurrent, CompleteCommit: ErrNotAdded} {
		if err := at(s, V1).Verify(Producer{7, 5}, part[0]); !errors.Is(err, want) {
			t.Errorf("verify in %v: %v, want %v", s, err, want)
		}
	}
	if err := at(Ongoing, V1).Verify(Producer{7, 5}, want[0]); !errors.Is(err, ErrNotAdded) {
		t.Errorf("verify another partition: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	const week = 7 * 24 * time.Hour
	later := record.Timestamp(100 + week.Milliseconds())
	for s := Empty; s <= Dead; s++ {
		idle := s == Empty || s == CompleteCommit || s == CompleteAbort
		if got := at(s, V2).Expired(later, week); got != idle {
			t.Errorf("%v expired: %v", s, got)
		}
		if at(s, V2).Expired(later-1, week) {
			t.Errorf("%v expired early", s)
		}
	}
}
