package broker

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/txn"
)

// describeTransactions shows transactional ids. It shows what is in memory: an
// administrator may see a change a moment before it is durable.
func (x *txns) describeTransactions(_ *conn, req *kmsg.DescribeTransactionsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		for _, id := range distinct(req.TransactionalIDs) {
			resp.TransactionStates = append(resp.TransactionStates, x.describe(id))
		}
		return resp
	})
}

func (x *txns) describe(id string) kmsg.DescribeTransactionsResponseTransactionState {
	resp := kmsg.NewDescribeTransactionsResponseTransactionState()
	resp.TransactionalID = id
	if id == "" {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	t, known := x.stateOf(id)
	if !known {
		resp.ErrorCode = kerr.TransactionalIDNotFound.Code
		return resp
	}
	resp.State, resp.TimeoutMillis, resp.StartTimestamp = t.State.String(), t.TimeoutMs, int64(t.StartedAt)
	resp.ProducerID, resp.ProducerEpoch = t.Producer.ID, t.Producer.Epoch
	for topic, partitions := range byTopic(t.Partitions) {
		rt := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
		rt.Topic, rt.Partitions = string(topic), partitions
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// stateOf is the id's state; known is false also while its first record is on
// its way.
func (x *txns) stateOf(id string) (t txn.Txn, known bool) {
	lt := x.find(id)
	if lt == nil {
		return txn.Txn{}, false
	}
	lt.mu.Lock()
	defer lt.mu.Unlock()
	return lt.mu.txn, !lt.mu.gone && lt.mu.txn.Producer.Epoch != txn.None
}

// listTransactions shows all transactional ids, or those that the client's
// filters let through.
func (x *txns) listTransactions(_ *conn, req *kmsg.ListTransactionsRequest) reply {
	return func(ctx context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.ListTransactionsResponse)
		filter, err := newTxnFilter(req, x)
		if err != nil {
			resp.ErrorCode = codeOf(err)
			return resp, nil
		}
		resp.UnknownStateFilters = filter.unknownStates
		for _, lt := range x.all() {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if t, known := x.stateOf(lt.id); known && filter.admits(lt.id, t) {
				one := kmsg.NewListTransactionsResponseTransactionState()
				one.TransactionalID, one.ProducerID, one.TransactionState = lt.id, t.Producer.ID, t.State.String()
				resp.TransactionStates = append(resp.TransactionStates, one)
			}
		}
		return resp, nil
	}
}

// txnFilter is what ListTransactions may be limited by.
type txnFilter struct {
	req           *kmsg.ListTransactionsRequest
	unknownStates []string
	nowMs         int64
	pattern       *regexp.Regexp // nil: any id
}

// Versions of ListTransactions from which on there are further filters.
const (
	listsByDuration = 1
	listsByPattern  = 2
)

func newTxnFilter(req *kmsg.ListTransactionsRequest, x *txns) (*txnFilter, error) {
	f := &txnFilter{req: req, nowMs: int64(x.now())}
	for _, name := range req.StateFilters {
		if !knownTxnState(name) {
			f.unknownStates = append(f.unknownStates, name)
		}
	}
	if req.Version < listsByPattern || orEmpty(req.TransactionalIDPattern) == "" {
		return f, nil
	}
	var err error
	if f.pattern, err = regexp.Compile("^(?:" + *req.TransactionalIDPattern + ")$"); err != nil {
		return nil, refused(kerr.InvalidRegularExpression, fmt.Sprintf("transactional id pattern: %v", err))
	}
	return f, nil
}

func knownTxnState(name string) bool {
	for s := txn.Empty; s <= txn.Dead; s++ {
		if s.String() == name {
			return true
		}
	}
	return name == "PrepareEpochFence" // Kafka's name of a state that ours passes through at once
}

func (f *txnFilter) admits(id string, t txn.Txn) bool {
	switch {
	case len(f.req.StateFilters) > 0 && !slices.Contains(f.req.StateFilters, t.State.String()):
		return false
	case len(f.req.ProducerIDFilters) > 0 && !slices.Contains(f.req.ProducerIDFilters, t.Producer.ID):
		return false
	case f.req.Version >= listsByDuration && f.req.DurationFilterMillis >= 0 && !f.runsLonger(t):
		return false
	}
	return f.pattern == nil || f.pattern.MatchString(id)
}

func (f *txnFilter) runsLonger(t txn.Txn) bool {
	running := t.State == txn.Ongoing || t.State.Prepared()
	return running && f.nowMs-int64(t.StartedAt) > f.req.DurationFilterMillis
}
