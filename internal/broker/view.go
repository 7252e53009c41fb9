package broker

import (
	"millrace/internal/log"
	"millrace/record"
)

// Isolation levels of readers in Kafka's requests.
const readCommitted = 1

// view is one partition as its readers may see it: all that is durable, or at
// read_committed only what lies before the first undecided transaction.
type view struct {
	log       *log.Log
	committed bool
}

// end is the first offset that the reader does not see.
func (v view) end() record.Offset {
	if v.committed {
		return v.log.LastStableOffset()
	}
	return v.log.HighWatermark()
}

func (v view) read(from record.Offset, maxBytes int, buf []byte) ([]byte, error) {
	if v.committed {
		return v.log.ReadCommitted(from, maxBytes, buf)
	}
	return v.log.Read(from, maxBytes, buf)
}

// watch has w woken when end moves; false when it is above seen already, or when
// the log has stopped.
func (v view) watch(w *log.Waiter, seen record.Offset) bool {
	if v.committed {
		return v.log.WatchStable(w, seen)
	}
	return v.log.Watch(w, seen)
}
