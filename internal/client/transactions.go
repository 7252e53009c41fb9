package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Transaction is a transactional id and its newest transaction.
type Transaction struct {
	ID         string
	State      string // Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort
	ProducerID int64
	Epoch      int16
	Timeout    time.Duration
	Started    time.Time               // zero without a transaction
	Partitions []record.TopicPartition // of an open one, in order
}

// Open reports whether readers at read_committed may wait for it.
func (t Transaction) Open() bool {
	return t.State == "Ongoing" || t.State == "PrepareCommit" || t.State == "PrepareAbort"
}

// UnknownTransactionError names a transactional id that the cluster does not have.
type UnknownTransactionError struct {
	ID      string
	Nearest string // an existing id that is spelled much alike, or empty
}

func (e UnknownTransactionError) Error() string {
	return fmt.Sprintf("transactional id %q does not exist", e.ID) + didYouMean(e.Nearest)
}

// Transactions lists all transactional ids by name.
func (a *Admin) Transactions(ctx context.Context) ([]Transaction, error) {
	listed, err := a.client.ListTransactions(ctx, nil, nil)
	if err = shardErrors(err); err != nil {
		return nil, a.wrap("list transactions", err, "")
	}
	if len(listed) == 0 {
		return nil, nil
	}
	described, err := a.client.DescribeTransactions(ctx, slices.Sorted(maps.Keys(listed))...)
	if err = shardErrors(err); err != nil {
		return nil, a.wrap("describe transactions", err, "")
	}
	var all []Transaction
	for _, d := range described.Sorted() {
		if d.Err == nil { // else it expired since it was listed
			all = append(all, transactionOf(d))
		}
	}
	return all, nil
}

// Transaction describes one transactional id; [UnknownTransactionError] when it
// is not there.
func (a *Admin) Transaction(ctx context.Context, id string) (Transaction, error) {
	described, err := a.client.DescribeTransactions(ctx, id)
	if err == nil {
		err = described[id].Err
	}
	if errors.Is(err, kerr.TransactionalIDNotFound) {
		listed, _ := a.client.ListTransactions(ctx, nil, nil)
		return Transaction{}, UnknownTransactionError{ID: id, Nearest: Nearest(id, slices.Sorted(maps.Keys(listed)))}
	}
	if err != nil {
		return Transaction{}, a.wrap("describe transaction "+id, err, "")
	}
	return transactionOf(described[id]), nil
}

func transactionOf(d kadm.DescribedTransaction) Transaction {
	t := Transaction{
		ID: d.TxnID, State: d.State, ProducerID: d.ProducerID, Epoch: d.ProducerEpoch,
		Timeout: time.Duration(d.TimeoutMillis) * time.Millisecond,
	}
	if d.StartTimestamp > 0 {
		t.Started = time.UnixMilli(d.StartTimestamp)
	}
	for _, topic := range d.Topics.Sorted() {
		for _, p := range topic.Partitions {
			t.Partitions = append(t.Partitions, record.TopicPartition{Topic: record.Topic(topic.Topic), Partition: record.Partition(p)})
		}
	}
	return t
}

// AbortTransaction aborts what is open under the id and fences its producer, as
// a new client of that id would.
func (a *Admin) AbortTransaction(ctx context.Context, t Transaction) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &t.ID
	req.TransactionTimeoutMillis = int32(t.Timeout.Milliseconds())
	for {
		resp, err := req.RequestWith(ctx, a.raw)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) { // its markers are being written
			return a.wrap("abort transaction "+t.ID, err, "")
		}
		select {
		case <-time.After(abortPause):
		case <-ctx.Done():
			return a.wrap("abort transaction "+t.ID, ctx.Err(), "")
		}
	}
}

const abortPause = 100 * time.Millisecond
