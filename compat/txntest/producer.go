// Package txntest kills a broker with SIGKILL, again and again, under
// transactions of several client libraries, and hands what they and their
// readers saw to package history. The two things most callers need are Run and
// Libraries.
package txntest

import (
	"context"
	"time"

	"millrace/compat/history"
)

// Record is one record to send.
type Record struct {
	history.Partition
	Value []byte
}

// Producer is a library's transactional producer: one transaction at a time,
// one caller. After an error nothing but Close may be called, except that a
// zombie tries its commit all the same.
type Producer interface {
	Begin(ctx context.Context) error
	// Send returns the offset at which each record was acknowledged, -1 for
	// none. It has waited for all answers.
	Send(ctx context.Context, records []Record) ([]int64, error)
	// Stage adds an offset of a group without members to the transaction.
	Stage(ctx context.Context, s history.Staged) error
	Commit(ctx context.Context) error
	Abort(ctx context.Context) error
	// Close leaves an open transaction to whoever fences it.
	Close()
}

// straggler is a producer that can send requests of its last transaction behind
// the begin of the next one. It is an error when the broker accepts them.
type straggler interface {
	Late(ctx context.Context, r Record) error
}

// Library is one client library.
type Library struct {
	Name string
	// Open returns when the producer has its id and epoch, which has fenced
	// every earlier one of the same transactional id.
	Open func(ctx context.Context, addr, transactionalID string, timeout time.Duration) (Producer, error)
}

// Libraries are those that the kill test runs: the second transaction protocol
// where the broker has it, the first, and the first by other libraries.
func Libraries() []Library {
	return []Library{
		{"franz-go", openFranz},
		{"franz-go-v1", openFranzV1},
		{"sarama", openSarama},
		{"librdkafka", openLibrdkafka},
	}
}
