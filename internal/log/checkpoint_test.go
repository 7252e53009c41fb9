package log

import (
	"maps"
	"slices"
	"testing"

	"millrace/record"
)

func TestOffsetsRoundTrip(t *testing.T) {
	all := offsets{
		{Topic: "a-b.c_d", Partition: 0}:    7,
		{Topic: "clicks", Partition: 3}:     1 << 40,
		{Topic: "clicks", Partition: 10000}: 0,
	}
	got, err := decodeOffsets(all.encode())
	if err != nil || !maps.Equal(got, all) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestKafkasCheckpointIsRead(t *testing.T) {
	got, err := decodeOffsets([]byte("0\n2\nclicks 0 12\nclicks 1 7\n"))
	if err != nil || len(got) != 2 || got[record.TopicPartition{Topic: "clicks", Partition: 1}] != 7 {
		t.Errorf("%v, %v", got, err)
	}
}

// Each damage to a checkpoint is either found, or harmless: no offset that was
// written is read as another one.
func TestADamagedCheckpointDoesNotLie(t *testing.T) {
	all := offsets{{Topic: "clicks", Partition: 0}: 12, {Topic: "clicks", Partition: 1}: 345}
	b := all.encode()
	check := func(damaged []byte, how string, at int) {
		t.Helper()
		got, err := decodeOffsets(damaged)
		if err != nil {
			return
		}
		for tp, off := range all {
			if got[tp] != off {
				t.Errorf("%s %d: %s is read as %d, not %d, from %q", how, at, tp, got[tp], off, damaged)
			}
		}
	}
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		check(b, "bit", bit)
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		check(b[:n], "cut at", n)
	}
}

func TestEpochHistory(t *testing.T) {
	h := firstEpoch()
	h = h.next(10)
	h = h.next(10) // epoch 1 never had a record
	h = h.next(25)
	if want := (epochHistory{{0, 0}, {2, 10}, {3, 25}}); len(*h) != 3 || (*h)[1] != want[1] || (*h)[2] != want[2] {
		t.Fatalf("history %v, want %v", *h, want)
	}
	for off, want := range map[record.Offset]int32{0: 0, 9: 0, 10: 2, 24: 2, 25: 3, 1000: 3} {
		if got := h.at(off); got != want {
			t.Errorf("epoch at %d is %d, want %d", off, got, want)
		}
	}
	for asked, want := range map[int32]epochEntry{-1: {-1, -1}, 0: {0, 10}, 1: {0, 10}, 2: {2, 25}, 3: {3, 40}, 4: {-1, -1}} {
		epoch, end := h.endOf(asked, 40)
		if got := (epochEntry{epoch, end}); got != want {
			t.Errorf("end of epoch %d is %v, want %v", asked, got, want)
		}
	}
	if epoch, end := (&epochHistory{{5, 100}, {6, 200}}).endOf(3, 300); epoch != 3 || end != 100 {
		t.Errorf("an epoch before all: %d %d, want 3 and 100", epoch, end)
	}
}

func TestADamagedEpochFileIsNoticed(t *testing.T) {
	h := &epochHistory{{0, 0}, {1, 12}, {2, 345}}
	b := h.encode()
	if got, err := decodeEpochs(b); err != nil || len(*got) != 3 || (*got)[2] != (*h)[2] {
		t.Fatal(got, err)
	}
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		if got, err := decodeEpochs(b); err == nil {
			t.Errorf("bit %d: %q is read as %v", bit, b, *got)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	if got, err := decodeEpochs([]byte("0\n2\n0 0\n4 17\n")); err != nil || (*got)[1] != (epochEntry{4, 17}) { // Kafka's
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzDecodeOffsets(f *testing.F) {
	f.Add(offsets{{Topic: "clicks", Partition: 0}: 12}.encode())
	f.Add([]byte("0\n1\nclicks 0 12\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := decodeOffsets(b)
		if err != nil {
			return
		}
		for tp, off := range all {
			if off < 0 || tp.Partition < 0 {
				t.Fatalf("%s at %d", tp, off)
			}
		}
	})
}

func FuzzDecodeEpochs(f *testing.F) {
	f.Add((&epochHistory{{0, 0}, {1, 12}}).encode())
	f.Add([]byte("0\n2\n0 0\n4 17\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeEpochs(b)
		if err != nil {
			return
		}
		if _, err := decodeEpochs(h.encode()); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}

func TestEpochCollector(t *testing.T) {
	for _, c := range []struct {
		epochs []int32 // of the batches at 0, 1, 2, …
		want   epochHistory
	}{
		{[]int32{0, 0, 0}, epochHistory{{0, 0}}},
		{[]int32{5}, epochHistory{{5, 0}}},
		{[]int32{0, 0, 1, 1}, epochHistory{{0, 0}, {1, 2}}},
		{[]int32{0, 0, 1}, epochHistory{{0, 0}}},
		{[]int32{0, 8, 0}, epochHistory{{0, 0}}},
		{[]int32{0, 8, 1, 1}, epochHistory{{0, 0}, {1, 2}}},
		{[]int32{0, 1, 1, 4, 4, 4}, epochHistory{{0, 0}, {1, 1}, {4, 3}}},
	} {
		var got epochCollector
		for i, epoch := range c.epochs {
			got.add(epoch, record.Offset(i))
		}
		if !slices.Equal(got.history, c.want) {
			t.Errorf("%v: %v, want %v", c.epochs, got.history, c.want)
		}
	}
}
