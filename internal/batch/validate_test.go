package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// TestEveryBitFlip flips each bit of a batch of each codec. CheckCRC and Validate
// refuse all of them but those of the 12 bytes that the broker may write: base
// offset, its sign excepted, and leader epoch.
func TestEveryBitFlip(t *testing.T) {
	for _, codec := range codecs {
		b := buildBatch(t, BuilderOptions{Codec: codec, ProducerID: 42}, 5)
		SetBaseOffset(b, 1000)
		for bit := range len(b) * 8 {
			b[bit/8] ^= 0x80 >> (bit % 8)
			_, err := CheckCRC(b)
			requireOneOf(t, bit, err, flipErrors(bit))
			_, err = Validate(b)
			requireOneOf(t, bit, err, flipErrors(bit))
			b[bit/8] ^= 0x80 >> (bit % 8)
		}
	}
}

// flipErrors are the errors that a flipped bit may give; none at all for the
// bytes that are free. A length that grew ends behind the bytes, one that shrank
// moves the end of the checksum or falls below the header.
func flipErrors(bit int) []error {
	const sign = 0 // of the base offset
	switch pos := bit / 8; {
	case bit == sign:
		return []error{ErrCorrupt}
	case pos < posLength:
		return nil
	case pos < posLeaderEpoch:
		return []error{ErrCorrupt, ErrTorn}
	case pos < posMagic:
		return nil
	case pos == posMagic:
		return []error{ErrMagic}
	}
	return []error{ErrCorrupt}
}

func requireOneOf(t *testing.T, bit int, err error, want []error) {
	t.Helper()
	matches := func(target error) bool { return errors.Is(err, target) }
	if ok := err == nil && want == nil || slices.ContainsFunc(want, matches); !ok {
		t.Errorf("bit %d of byte %d: got %v, want one of %v", bit%8, bit/8, err, want)
	}
}

// TestEveryTruncation cuts a batch of each codec behind each byte: it is torn.
func TestEveryTruncation(t *testing.T) {
	for _, codec := range codecs {
		b := buildBatch(t, BuilderOptions{Codec: codec, ProducerID: NoProducerID}, 5)
		for size := range b {
			_, err := CheckCRC(b[:size])
			requireError(t, "CheckCRC", err, ErrTorn)
			_, err = Validate(b[:size])
			requireError(t, "Validate", err, ErrTorn)
			_, err = ParseHeader(b[:size])
			if size < HeaderSize {
				requireError(t, "ParseHeader", err, ErrTorn)
			} else {
				requireError(t, "ParseHeader", err, nil)
			}
		}
	}
}

// TestEveryCutOfTheRecords cuts the records behind each byte and then makes
// length and checksum right again, so that only the records can object.
func TestEveryCutOfTheRecords(t *testing.T) {
	for _, codec := range codecs {
		whole := buildBatch(t, BuilderOptions{Codec: codec, ProducerID: NoProducerID}, 5)
		for size := HeaderSize; size < len(whole); size++ {
			b := seal(bytes.Clone(whole[:size]))
			_, err := Validate(b)
			if codec == None {
				requireError(t, "Validate", err, ErrInvalid)
			} else {
				requireError(t, "Validate", err, nil) // compressed records are their reader's affair
			}
			if _, err := tryReadAll(b); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s cut to %d of %d bytes: reading gives %v", codec, size, len(whole), err)
			}
		}
	}
}

// seal corrects length and checksum of b, exactly one batch.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-lengthEnd))
	writeCRC(b)
	return b
}

// TestBytesBehindTheRecords: one more byte under a right length and checksum.
func TestBytesBehindTheRecords(t *testing.T) {
	for _, codec := range codecs {
		b := seal(append(buildBatch(t, BuilderOptions{Codec: codec, ProducerID: NoProducerID}, 5), 0))
		if _, err := tryReadAll(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: reading gives %v", codec, err)
		}
	}
}

func TestBytesBehindTheBatch(t *testing.T) {
	b := append(plainBatch(t), 0)
	_, err := CheckCRC(b)
	requireError(t, "CheckCRC", err, nil)
	_, err = Validate(b)
	requireError(t, "Validate", err, ErrInvalid)
}

func TestSplit(t *testing.T) {
	first, second := plainBatch(t), idempotentBatch(t)
	both := slices.Concat(first, second)
	old := append(bytes.Clone(second), 0) // a message of format 1 behind a batch
	old = append(old, make([]byte, 15)...)
	old = append(old, 1)
	tests := []struct {
		name  string
		bytes []byte
		whole int
		err   error
	}{
		{"nothing", nil, 0, nil},
		{"one", first, 1, nil},
		{"two", both, 2, nil},
		{"second cut in its records", both[:len(both)-1], 1, ErrTorn},
		{"second cut in its header", both[:len(first)+20], 1, ErrTorn},
		{"second cut before its magic", both[:len(first)+1], 1, ErrTorn},
		{"old format behind", old, 1, ErrMagic},
		{"zeros behind", append(bytes.Clone(first), make([]byte, 100)...), 1, ErrMagic},
		{"impossible length behind", slices.Concat(first, make([]byte, 16), []byte{magic}, make([]byte, 44)), 1, ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var (
				whole, length int
				last          error
			)
			for b, err := range Split(test.bytes) {
				if last != nil {
					t.Fatal("Split goes on behind an error")
				}
				length += len(b)
				if cap(b) != len(b) && err == nil {
					t.Error("a batch can grow into the next one")
				}
				if last = err; err == nil {
					whole++
				}
			}
			if whole != test.whole || !errors.Is(last, test.err) || length != len(test.bytes) {
				t.Errorf("%d batches, %d bytes, error %v; want %d, %d, %v", whole, length, last, test.whole, len(test.bytes), test.err)
			}
		})
	}
}

// TestSplitStops: a caller may leave the loop.
func TestSplitStops(t *testing.T) {
	seen := 0
	for range Split(slices.Concat(plainBatch(t), plainBatch(t))) {
		seen++
		break
	}
	if seen != 1 {
		t.Fatalf("saw %d batches", seen)
	}
}
