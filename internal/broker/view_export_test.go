package broker

import (
	"testing"

	"millrace/internal/log"
)

// LogOf is the log of one partition.
func (b *Broker) LogOf(t testing.TB, topic string, partition int32) *log.Log {
	t.Helper()
	l, err := b.partition(topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
