package log

import (
	"context"
	"errors"
	"slices"
	"testing"

	"millrace/internal/batch"
	"millrace/record"
)

// txnBatch is a batch of a transaction with so many records.
func txnBatch(p producerSpec, n int) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: p.id, ProducerEpoch: p.epoch, BaseSequence: p.sequence, Transactional: true})
	for i := range n {
		b.Append(record.Timestamp(1_700_000_000_000+i), nil, []byte("v"), nil)
	}
	built, err := b.Build()
	if err != nil {
		panic(err)
	}
	return slices.Clone(built)
}

func appendTxn(t testing.TB, l *Log, p producerSpec, n int) Appended {
	t.Helper()
	a, err := l.Append(txnBatch(p, n), AppendOptions{Sync: true, Txn: true})
	if err == nil {
		err = a.Wait(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func endTxn(t testing.TB, l *Log, m Marker) Appended {
	t.Helper()
	a, err := l.AppendMarker(m)
	if err == nil {
		err = a.Wait(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// txnState is what readers at read_committed go by.
type txnState struct {
	stable  record.Offset
	aborted []AbortedTxn
}

func stateOf(t testing.TB, l *Log) txnState {
	t.Helper()
	aborted, err := l.Aborted(nil, l.StartOffset(), l.LastStableOffset())
	if err != nil {
		t.Fatal(err)
	}
	return txnState{l.LastStableOffset(), aborted}
}

func requireState(t testing.TB, l *Log, stable record.Offset, aborted ...AbortedTxn) {
	t.Helper()
	if got := stateOf(t, l); got.stable != stable || !slices.Equal(got.aborted, aborted) {
		t.Fatalf("last stable offset %d, aborted %v; want %d, %v", got.stable, got.aborted, stable, aborted)
	}
}

func TestTransactionsInterleaved(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, Options{})
	l := create(t, s, Config{})
	appendTxn(t, l, producerSpec{id: 1}, 2)         // 0, 1
	appendTxn(t, l, producerSpec{id: 2}, 3)         // 2 to 4
	appendSync(t, l, makeBatch(noProducer, 1, "x")) // 5
	requireState(t, l, 0)
	endTxn(t, l, Marker{ProducerID: 1, Commit: true}) // 6
	requireState(t, l, 2)
	appendTxn(t, l, producerSpec{id: 1, sequence: 2}, 1) // 7
	endTxn(t, l, Marker{ProducerID: 2})                  // 8
	requireState(t, l, 7, AbortedTxn{2, 2, 8})
	endTxn(t, l, Marker{ProducerID: 1}) // 9
	want := []AbortedTxn{{2, 2, 8}, {1, 7, 9}}
	requireState(t, l, 10, want...)
	appendTxn(t, l, producerSpec{id: 3, epoch: 4}, 1) // 10
	if id, first, _, ok := l.OldestOpenTxn(); !ok || id != 3 || first != 10 {
		t.Errorf("the oldest open transaction is %d from %d, %v", id, first, ok)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l, _ = openDir(t, dir, Options{}).Log(tp0)
	requireState(t, l, 10, want...)
	infos := l.Producers()
	if len(infos) != 3 || infos[2].TxnStart != 10 || infos[2].Epoch != 4 || infos[0].TxnStart != -1 || infos[0].CoordinatorEpoch != 0 || infos[2].CoordinatorEpoch != -1 {
		t.Errorf("producers are %+v", infos)
	}
}

func TestFencing(t *testing.T) {
	l := create(t, openDir(t, t.TempDir(), Options{}), Config{})
	first := txnBatch(producerSpec{id: 1, epoch: 5}, 1)
	if _, err := l.Append(slices.Clone(first), AppendOptions{}); !errors.Is(err, ErrTxnNotVerified) {
		t.Errorf("a transaction nobody vouches for: %v", err)
	}
	appendTxn(t, l, producerSpec{id: 1, epoch: 5}, 1)
	if _, err := l.Append(txnBatch(producerSpec{id: 1, epoch: 5, sequence: 1}, 1), AppendOptions{}); err != nil {
		t.Errorf("its second batch: %v", err)
	}
	if a, err := l.Append(slices.Clone(first), AppendOptions{}); err != nil || !a.Duplicate {
		t.Errorf("its first batch again: %+v, %v", a, err)
	}
	if _, err := l.Append(makeBatch(producerSpec{id: 1, epoch: 5, sequence: 2}, 1, "x"), AppendOptions{}); !errors.Is(err, ErrTxnState) {
		t.Errorf("a batch outside of it: %v", err)
	}
	for name, test := range map[string]struct {
		m    Marker
		want error
	}{
		"an older epoch":                      {Marker{ProducerID: 1, ProducerEpoch: 4, CoordinatorEpoch: 7}, ErrStaleEpoch},
		"the same epoch under version 2":      {Marker{ProducerID: 1, ProducerEpoch: 5, CoordinatorEpoch: 7, TransactionVersion: 2}, ErrStaleEpoch},
		"a producer that has never been here": {Marker{ProducerID: 9, ProducerEpoch: 5, CoordinatorEpoch: 7, TransactionVersion: 2}, nil},
	} {
		if _, err := l.AppendMarker(test.m); !errors.Is(err, test.want) {
			t.Errorf("a marker of %s: %v, want %v", name, err, test.want)
		}
	}
	requireState(t, l, 0)
	bumped := Marker{ProducerID: 1, ProducerEpoch: 6, CoordinatorEpoch: 7, TransactionVersion: 2}
	endTxn(t, l, bumped)
	again := endTxn(t, l, bumped) // as a coordinator does that did not hear the answer
	requireState(t, l, again.Last+1, AbortedTxn{1, 0, again.Last - 1})
	if _, err := l.AppendMarker(Marker{ProducerID: 1, ProducerEpoch: 7, CoordinatorEpoch: 6}); !errors.Is(err, ErrCoordinatorFenced) {
		t.Errorf("an older coordinator: %v", err)
	}
	if _, err := l.Append(txnBatch(producerSpec{id: 1, epoch: 5, sequence: 2}, 1), AppendOptions{Txn: true}); !errors.Is(err, ErrStaleEpoch) {
		t.Errorf("a late batch of the ended transaction: %v", err)
	}
	if _, err := l.Append(txnBatch(producerSpec{id: 1, epoch: 6, sequence: 2}, 1), AppendOptions{Txn: true}); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("the new epoch starts with sequence 2: %v", err)
	}
	appendTxn(t, l, producerSpec{id: 1, epoch: 6}, 1)
}

// Under transaction.version 2 a producer that is not known here starts at 0: what
// comes with a higher sequence has overtaken its first batch.
func TestFirstBatchFromZero(t *testing.T) {
	l := create(t, openDir(t, t.TempDir(), Options{}), Config{})
	ask := AppendOptions{Sync: true, Txn: true, FromZero: true}
	if _, err := l.Append(txnBatch(producerSpec{id: 7, sequence: 1}, 1), ask); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("sequence 1 of an unknown producer: %v, want ErrOutOfOrderSequence", err)
	}
	for sequence := range int32(2) {
		if _, err := l.Append(txnBatch(producerSpec{id: 7, sequence: sequence}, 1), ask); err != nil {
			t.Errorf("sequence %d: %v", sequence, err)
		}
	}
	if _, err := l.Append(txnBatch(producerSpec{id: 8, sequence: 1}, 1), AppendOptions{Sync: true, Txn: true}); err != nil {
		t.Errorf("without FromZero: %v", err)
	}
}

func TestControlBatchesAreNotForClients(t *testing.T) {
	l := create(t, openDir(t, t.TempDir(), Options{}), Config{})
	b, err := Marker{ProducerID: 1, Commit: true}.encode(new(batch.Builder), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, internal := range []bool{false, true} {
		if _, err := l.Append(b, AppendOptions{Internal: internal, Txn: true}); !errors.Is(err, ErrControl) {
			t.Errorf("got %v", err)
		}
	}
}
