package broker

import (
	"slices"
	"testing"

	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/internal/wire"
)

func openTest(t *testing.T, cfg Config) *Broker {
	t.Helper()
	if cfg.FS == nil {
		cfg.FS = crashfs.New()
	}
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// What ApiVersions advertises is what is answered, and nothing else is.
func TestDispatchTableIsTheServedTable(t *testing.T) {
	b := openTest(t, Config{})
	var served []int16
	for _, api := range wire.Served() {
		served = append(served, api.Key)
		if b.handlers[api.Key] == nil {
			t.Errorf("%s is advertised but has no handler", api.Name)
		}
	}
	for key := range b.dispatchTable() {
		if !slices.Contains(served, int16(key)) {
			t.Errorf("%s has a handler but is not advertised", key.Name())
		}
	}
}

func TestEveryErrorOfTheLogHasAKafkaCode(t *testing.T) {
	for _, err := range []error{
		log.ErrOffsetOutOfRange, log.ErrOutOfOrderSequence, log.ErrDuplicateSequence, log.ErrStaleEpoch, log.ErrTooLarge,
		log.ErrTimestamp, log.ErrNoSpace, log.ErrFailed, log.ErrClosed, log.ErrDeleted,
	} {
		if !slices.ContainsFunc(kafkaCodes, func(k kafkaCode) bool { return k.err == err }) {
			t.Errorf("no Kafka code for: %v", err)
		}
	}
	if got := codeOf(&log.CorruptError{}); got != 2 {
		t.Errorf("damage has code %d, want CORRUPT_MESSAGE (2)", got)
	}
}
