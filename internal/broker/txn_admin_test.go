package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

func (c *rawConn) listTransactions(filter func(*kmsg.ListTransactionsRequest)) (listed []string) {
	c.t.Helper()
	req := kmsg.NewPtrListTransactionsRequest()
	filter(req)
	for _, one := range call[*kmsg.ListTransactionsResponse](c, 2, req).TransactionStates {
		listed = append(listed, one.TransactionalID+" "+one.TransactionState)
	}
	return listed
}

// What an administrator sees of transactions, by every filter.
func TestListAndDescribeTransactions(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("t", 2)
	running, done, _ := newTxnProducer(t, n, "running", true), newTxnProducer(t, n, "done", false), newTxnProducer(t, n, "fresh", true)
	running.prepare("t", "x", 1)
	done.transaction("t", "y", 1, true)
	ended := newTxnProducer(t, n, "ended", true)
	ended.transaction("t", "z", 1, false)
	for name, f := range map[string]struct {
		filter func(*kmsg.ListTransactionsRequest)
		want   string
	}{
		"all":         {func(*kmsg.ListTransactionsRequest) {}, "done CompleteCommit, ended CompleteAbort, fresh Empty, running Ongoing"},
		"by state":    {func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing", "Empty"} }, "fresh Empty, running Ongoing"},
		"by producer": {func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{done.producer} }, "done CompleteCommit"},
		"by duration": {func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 0 }, "running Ongoing"},
		"too long":    {func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 60_000 }, ""},
		"by pattern":  {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr(".*ed|fresh") }, "ended CompleteAbort, fresh Empty"},
	} {
		n.WaitSettled(t, "done", "ended")
		time.Sleep(2 * time.Millisecond) // an age in whole milliseconds above 0
		if got := strings.Join(c.listTransactions(f.filter), ", "); got != f.want {
			t.Errorf("%s: %s, want %s", name, got, f.want)
		}
	}
	req := kmsg.NewPtrListTransactionsRequest()
	req.TransactionalIDPattern = kmsg.StringPtr("(")
	if code := call[*kmsg.ListTransactionsResponse](c, 2, req).ErrorCode; code != 128 {
		t.Errorf("a broken pattern: code %d, want INVALID_REGULAR_EXPRESSION", code)
	}
	req = kmsg.NewPtrListTransactionsRequest()
	req.StateFilters = []string{"Ongoing", "Sleeping"}
	if got := call[*kmsg.ListTransactionsResponse](c, 1, req).UnknownStateFilters; !slices.Equal(got, []string{"Sleeping"}) {
		t.Errorf("unknown states: %v", got)
	}

	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{"running", "nobody's", ""}
	states := call[*kmsg.DescribeTransactionsResponse](c, 0, describe).TransactionStates
	r := states[0]
	if r.State != "Ongoing" || r.ProducerID != running.producer || r.TimeoutMillis != 60_000 || r.StartTimestamp <= 0 {
		t.Errorf("running: %+v", r)
	}
	if got := fmt.Sprint(r.Topics[0].Topic, r.Topics[1].Topic, r.Topics[1].Partitions); !strings.HasPrefix(got, "__consumer_offsetst[0 1]") {
		t.Errorf("its partitions: %s", got)
	}
	if states[1].ErrorCode != 105 || states[2].ErrorCode != 42 {
		t.Errorf("codes %d and %d, want TRANSACTIONAL_ID_NOT_FOUND and INVALID_REQUEST", states[1].ErrorCode, states[2].ErrorCode)
	}
}

// A transaction that nobody coordinates any more is seen, and ended, partition
// by partition (KIP-664); the log's rules hold for such markers as well.
func TestEndTransactionByHand(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("t", 2)
	p := newTxnProducer(t, n, "id", false)
	p.mustInit()
	p.prepare("t", "x", 7)
	open := func(topic string, partition int32) kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
		req := kmsg.NewPtrDescribeProducersRequest()
		req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: []int32{partition, 9}}}
		got := call[*kmsg.DescribeProducersResponse](c, 0, req).Topics[0].Partitions
		if got[1].ErrorCode != 3 {
			t.Errorf("a partition that is not: code %d", got[1].ErrorCode)
		}
		return got[0].ActiveProducers[0]
	}
	if got := open("t", 1); got.ProducerID != p.producer || got.ProducerEpoch != 1 || got.CurrentTxnStartOffset != 0 || got.LastSequence != 0 || got.LastTimestamp <= 0 {
		t.Errorf("the producer of t-1: %+v", got)
	}
	mark := func(epoch int16, commit bool, topic string, partition int32) int16 {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{
			ProducerID: p.producer, ProducerEpoch: epoch, Committed: commit,
			Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: []int32{partition}}},
		}}
		return call[*kmsg.WriteTxnMarkersResponse](c, 1, req).Markers[0].Topics[0].Partitions[0].ErrorCode
	}
	if got := mark(0, false, "t", 1); got != invalidProducerEpoch {
		t.Errorf("a marker of an older epoch: code %d", got)
	}
	if got := mark(1, false, "missing", 0); got != 3 {
		t.Errorf("a marker for no topic: code %d", got)
	}
	offsets, _, _ := n.OffsetsLog("g")
	for _, tp := range []struct {
		topic     string
		partition int32
	}{{"t", 0}, {"t", 1}, {"__consumer_offsets", int32(offsets)}} {
		if got := mark(1, false, tp.topic, tp.partition); got != 0 {
			t.Errorf("end %v: code %d", tp, got)
		}
		if got := open(tp.topic, tp.partition); got.CurrentTxnStartOffset != -1 {
			t.Errorf("%v is still open from %d", tp, got.CurrentTxnStartOffset)
		}
	}
	if values, settled := committedIn(t, n, "t", 0); len(values) != 0 || !settled {
		t.Errorf("committed %v, settled: %v", values, settled)
	}
	if offset, staged := n.GroupOffset("g", "t", 0); offset != -1 || staged {
		t.Errorf("the group is at %d, staged: %v", offset, staged)
	}
}

// T7: a partition whose readers stand still shows in a metric while its
// transaction is older than ten seconds, and the counters tell how they ended.
func TestTransactionMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	var ahead atomic.Int64
	n := serve(t, broker.Config{FS: crashfs.New(), Registerer: reg, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	p.transaction("t", "x", 1, true)
	p.transaction("t", "x", 2, false)
	p.prepare("t", "y", 3)
	age := func() float64 {
		return gathered(t, reg, "millrace_broker_open_transaction_seconds", "t", "1")
	}
	if got := age(); got != 0 {
		t.Errorf("a young transaction shows as %v s old", got)
	}
	ahead.Store(int64(12 * time.Second))
	if got := age(); got < 11.9 || got > 40 {
		t.Errorf("after 12 s the transaction is %v s old", got)
	}
	if got := gathered(t, reg, "millrace_broker_open_transaction_partitions"); got != 3 {
		t.Errorf("%v partitions stand still, want t-0, t-1 and the group's", got)
	}
	ahead.Store(int64(61 * time.Second))
	n.AbortOverdue()
	n.EndTransactions(t)
	if got := age(); got != 0 {
		t.Errorf("after its abort it is %v s old", got)
	}
	for result, want := range map[string]float64{"commit": 1, "abort": 2, "timeout": 1} {
		if got := gathered(t, reg, "millrace_broker_transactions_total", result); got != want {
			t.Errorf("%v transactions with result %s, want %v", got, result, want)
		}
	}
	if got := gathered(t, reg, "millrace_broker_transactional_ids"); got != 1 {
		t.Errorf("%v ids", got)
	}
}

// gathered is the value of the series with these label values, 0 without one.
func gathered(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name {
				continue
			}
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			slices.Sort(values)
			if slices.Equal(values, slices.Sorted(slices.Values(labels))) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
