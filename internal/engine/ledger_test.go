//go:build synctests

package engine

import (
	"encoding/binary"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ledger is what the brokers of a world have answered, whether the answer has
// arrived or not: what really happened, for the floors of a run.
type ledger struct {
	mu          sync.Mutex
	ended       map[transaction]bool // committed, or else aborted
	generations map[int32]bool       // of the consumer group
}

// transaction names one: every end bumps the producer's epoch (KIP-890), so the
// retry of an end is the same one.
type transaction struct {
	producer int64
	epoch    int16
}

func newLedger() *ledger {
	return &ledger{ended: make(map[transaction]bool), generations: make(map[int32]bool)}
}

// transactions counts those that a coordinator has ended because it was asked
// to. Those that it has ended by itself, for a timeout or a successor, come on top.
func (l *ledger) transactions() (committed, aborted int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, commit := range l.ended {
		if commit {
			committed++
		} else {
			aborted++
		}
	}
	return committed, aborted
}

func (l *ledger) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ended)
}

// rebalances counts the generations of the group.
func (l *ledger) rebalances() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.generations)
}

// Kinds of requests that the tests know by name.
const (
	produce         = int16(kmsg.Produce)
	joinGroup       = int16(kmsg.JoinGroup)
	heartbeat       = int16(kmsg.Heartbeat)
	leaveGroup      = int16(kmsg.LeaveGroup)
	initProducerID  = int16(kmsg.InitProducerID)
	endTxn          = int16(kmsg.EndTxn)
	txnOffsetCommit = int16(kmsg.TxnOffsetCommit)
)

// expects is the request behind a frame, when its answer is of interest.
func (l *ledger) expects(frame []byte) kmsg.Request {
	if key := int16(binary.BigEndian.Uint16(frame[4:])); key != endTxn && key != joinGroup {
		return nil
	}
	return parseRequest(frame)
}

// parseRequest is the request in a frame; nil when there is none.
func parseRequest(frame []byte) kmsg.Request {
	r := &frameReader{b: frame[4:]}
	key, version := r.int16(), r.int16()
	r.skip(4) // correlation id
	if n := r.int16(); n > 0 {
		r.skip(int(n)) // client id
	}
	request := kmsg.RequestForKey(key)
	if request == nil {
		return nil
	}
	request.SetVersion(version)
	if request.IsFlexible() {
		r.skip(1) // no tags
	}
	if r.short || request.ReadFrom(r.b) != nil {
		return nil
	}
	return request
}

// answered notes what an answer says.
func (l *ledger) answered(request kmsg.Request, frame []byte) {
	r := &frameReader{b: frame[8:]}
	if request.IsFlexible() {
		r.skip(1)
	}
	answer := request.ResponseKind()
	if r.short || answer.ReadFrom(r.b) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch a := answer.(type) {
	case *kmsg.EndTxnResponse:
		if q := request.(*kmsg.EndTxnRequest); a.ErrorCode == 0 {
			l.ended[transaction{q.ProducerID, q.ProducerEpoch}] = q.Commit
		}
	case *kmsg.JoinGroupResponse:
		if a.ErrorCode == 0 {
			l.generations[a.Generation] = true
		}
	}
}

// frameReader takes apart the head of a frame.
type frameReader struct {
	b     []byte
	short bool
}

func (r *frameReader) skip(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	skipped := r.b[:n]
	r.b = r.b[n:]
	return skipped
}

func (r *frameReader) int16() int16 {
	b := r.skip(2)
	if b == nil {
		return 0
	}
	return int16(b[0])<<8 | int16(b[1])
}
