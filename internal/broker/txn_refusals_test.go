package broker_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// Kafka's codes.
const (
	invalidProducerEpoch     = 47
	invalidTxnState          = 48
	invalidProducerIDMapping = 49
	invalidTxnTimeout        = 50
	concurrentTransactions   = 51
	unstableOffsetCommit     = 88
	producerFenced           = 90
	transactionAbortable     = 120
)

// What does not fit the state of a transaction is refused with Kafka's code, and
// nothing is changed by it: the transaction commits as if it had not been asked.
func TestTransactionRefusals(t *testing.T) {
	older := func(p *txnProducer) *txnProducer { q := *p; q.epoch--; return &q }
	other := func(p *txnProducer) *txnProducer { q := *p; q.producer += 1000; return &q }
	unknown := func(p *txnProducer) *txnProducer { q := *p; q.id = "nobody's"; return &q }
	outsider := func(p *txnProducer) *txnProducer { q := *p; q.member, q.gen = "stranger", 7; return &q }
	for name, c := range map[string]struct {
		v1, v2 int16
		do     func(p *txnProducer) int16
	}{
		"add with an older epoch":          {producerFenced, producerFenced, func(p *txnProducer) int16 { return older(p).add("t", 0) }},
		"add with a foreign producer":      {invalidProducerIDMapping, invalidProducerIDMapping, func(p *txnProducer) int16 { return other(p).add("t", 0) }},
		"add of an unknown id":             {invalidProducerIDMapping, invalidProducerIDMapping, func(p *txnProducer) int16 { return unknown(p).add("t", 0) }},
		"add of no partition":              {3, 3, func(p *txnProducer) int16 { return p.add("t", 9) }},
		"add of the broker's own topic":    {17, 17, func(p *txnProducer) int16 { return p.add("__transaction_state", 0) }},
		"add a group with an older epoch":  {producerFenced, producerFenced, func(p *txnProducer) int16 { return older(p).addGroup() }},
		"write with an older epoch":        {invalidProducerEpoch, invalidProducerEpoch, func(p *txnProducer) int16 { return older(p).write("t", "x", 0) }},
		"write with a foreign producer":    {invalidProducerIDMapping, invalidProducerIDMapping, func(p *txnProducer) int16 { return other(p).write("t", "x", 0) }},
		"write of an unknown id":           {invalidProducerIDMapping, invalidProducerIDMapping, func(p *txnProducer) int16 { return unknown(p).write("t", "x", 0) }},
		"stage with an older epoch":        {invalidProducerEpoch, invalidProducerEpoch, func(p *txnProducer) int16 { return older(p).stage("t", 9) }},
		"stage with a foreign producer":    {invalidProducerIDMapping, invalidProducerIDMapping, func(p *txnProducer) int16 { return other(p).stage("t", 9) }},
		"stage for another generation":     {22, 22, func(p *txnProducer) int16 { q := outsider(p); q.group = "nobody's"; return q.stage("t", 9) }},
		"stage as a stranger in the group": {25, 25, func(p *txnProducer) int16 { return outsider(p).stage("t", 9) }},
		"stage for a topic that is not":    {3, 3, func(p *txnProducer) int16 { return p.stage("missing", 9) }},
		"commit with an older epoch":       {producerFenced, producerFenced, func(p *txnProducer) int16 { return older(p).end(true) }},
		"commit with a foreign producer":   {invalidProducerIDMapping, invalidProducerIDMapping, func(p *txnProducer) int16 { return other(p).end(true) }},
		"commit of an unknown id":          {invalidProducerIDMapping, invalidProducerIDMapping, func(p *txnProducer) int16 { return unknown(p).end(true) }},
		"a timeout of an hour":             {invalidTxnTimeout, invalidTxnTimeout, func(p *txnProducer) int16 { return p.init(time.Hour, -1, -1) }},
		"no timeout":                       {invalidTxnTimeout, invalidTxnTimeout, func(p *txnProducer) int16 { return p.init(0, -1, -1) }},
		"go on with an older epoch":        {producerFenced, producerFenced, func(p *txnProducer) int16 { return p.init(time.Minute, p.producer, p.epoch-1) }},
		"go on as a foreign producer":      {producerFenced, producerFenced, func(p *txnProducer) int16 { return p.init(time.Minute, p.producer+1000, 0) }},
		"go on without an epoch":           {42, 42, func(p *txnProducer) int16 { return p.init(time.Minute, p.producer, -1) }},
		"an empty transactional id":        {42, 42, func(p *txnProducer) int16 { q := *p; q.id = ""; return q.init(time.Minute, -1, -1) }},
	} {
		for _, v2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, v2=%v", name, v2), func(t *testing.T) {
				n := serve(t, broker.Config{FS: crashfs.New()})
				dial(t, n.addr).createTopic("t", 2)
				p := newTxnProducer(t, n, "id", v2)
				p.mustInit() // so that there is an older epoch
				p.prepare("t", "kept", 5)
				want := c.v1
				if v2 {
					want = c.v2
				}
				if got := c.do(p); got != want {
					t.Errorf("code %d, want %d", got, want)
				}
				p.must("EndTxn", p.end(true))
				n.EndTransactions(t)
				for partition := range int32(2) {
					if values, settled := committedIn(t, n, "t", partition); fmt.Sprint(values) != "[kept]" || !settled {
						t.Errorf("partition %d holds %v, settled: %v", partition, values, settled)
					}
				}
				if offset, staged := n.GroupOffset("g", "t", 0); offset != 5 || staged {
					t.Errorf("the group is at %d, staged: %v", offset, staged)
				}
			})
		}
	}
}

func (p *txnProducer) init(timeout time.Duration, producer int64, epoch int16) int16 {
	p.t.Helper()
	req := p.initRequest()
	req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = int32(timeout.Milliseconds()), producer, epoch
	return call[*kmsg.InitProducerIDResponse](p.rawConn, 4, req).ErrorCode
}

// T2, T3: under version 1 a partition must be added before it is written to;
// under version 2 the write adds it.
func TestWritesOutsideOfTransactions(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	dial(t, n.addr).createTopic("t", 2)
	old, new := newTxnProducer(t, n, "old", false), newTxnProducer(t, n, "new", true)
	if got := old.write("t", "x", 0); got != invalidTxnState {
		t.Errorf("a write to a partition that was not added: code %d", got)
	}
	if got := old.stage("t", 1); got != invalidTxnState {
		t.Errorf("offsets of a group that was not added: code %d", got)
	}
	new.must("write", new.write("t", "y", 1))
	new.must("stage", new.stage("t", 1))
	new.must("end", new.end(true))
	if got := new.end(true); got != invalidTxnState {
		t.Errorf("a commit of nothing: code %d", got)
	}
	before := new.epoch
	new.must("abort of nothing", new.end(false)) // T5
	if new.epoch != before+1 {
		t.Errorf("epoch %d after the abort of nothing, want %d", new.epoch, before+1)
	}
}

// T5: EndTxn may be repeated with the epoch that it left behind; the opposite
// decision is refused.
func TestEndTxnRepeated(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	dial(t, n.addr).createTopic("t", 2)
	for _, commit := range []bool{true, false} {
		p := newTxnProducer(t, n, fmt.Sprint("id", commit), true)
		p.prepare("t", "x", 1)
		again := *p
		p.must("EndTxn", p.end(commit))
		opposite := again
		if got := opposite.end(!commit); got != invalidTxnState {
			t.Errorf("the opposite of commit=%v: code %d", commit, got)
		}
		again.must("EndTxn again", again.end(commit))
		if again.producer != p.producer || again.epoch != p.epoch {
			t.Errorf("the second answer has producer %d epoch %d, the first %d and %d", again.producer, again.epoch, p.producer, p.epoch)
		}
	}
}

// T4: when the epochs of a producer id run out, the next transaction gets
// another id, and a repeated EndTxn as well.
func TestEpochsRunOut(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	n.SetProducerEpoch(t, "id", 32766)
	p.epoch = 32766
	p.prepare("t", "x", 1)
	first, again := p.producer, *p
	p.must("EndTxn", p.end(true))
	again.must("EndTxn again", again.end(true))
	if p.producer == first || p.epoch != 0 || again.producer != p.producer || again.epoch != 0 {
		t.Errorf("after epoch 32766 of producer %d: producer %d epoch %d, and %d, %d", first, p.producer, p.epoch, again.producer, again.epoch)
	}
	p.transaction("t", "y", 2, true)
}

// T7: a transaction that lasts longer than its client allowed is aborted; its
// client is fenced, and may go on with the epoch that it asks for.
func TestTransactionTimesOut(t *testing.T) {
	var ahead atomic.Int64
	n := serve(t, broker.Config{FS: crashfs.New(), Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", false)
	p.prepare("t", "lost", 1)
	ahead.Store(int64(59 * time.Second))
	n.AbortOverdue()
	p.must("within the timeout", p.write("t", "lost", 0))
	ahead.Store(int64(61 * time.Second))
	n.AbortOverdue()
	n.EndTransactions(t)
	if got := p.stage("t", 7); got != invalidProducerEpoch {
		t.Errorf("an offset commit in an expired transaction: code %d", got)
	}
	if got := p.end(true); got != producerFenced {
		t.Errorf("a commit of an expired transaction: code %d", got)
	}
	if offset, staged := n.GroupOffset("g", "t", 0); offset != -1 || staged {
		t.Errorf("the group is at %d, staged: %v", offset, staged)
	}
	if values, settled := committedIn(t, n, "t", 0); len(values) != 0 || !settled {
		t.Errorf("committed %v, settled: %v", values, settled)
	}
	p.must("go on", p.init(time.Minute, p.producer, p.epoch))
}

// An id that nobody uses for a week is forgotten, also by a restart; one with an
// open transaction is not.
func TestTransactionalIDsExpire(t *testing.T) {
	var ahead atomic.Int64
	cfg := broker.Config{FS: crashfs.New(), Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
	n := serve(t, cfg)
	dial(t, n.addr).createTopic("t", 2)
	idle, busy := newTxnProducer(t, n, "idle", true), newTxnProducer(t, n, "busy", true)
	idle.transaction("t", "x", 1, true)
	n.EndTransactions(t)
	ahead.Store(int64(6*24*time.Hour + 23*time.Hour))
	n.ExpireTransactionalIDs()
	if !n.HasTransactionalID("idle") {
		t.Error("forgotten too early")
	}
	busy.must("write", busy.write("t", "y", 0))
	ahead.Store(int64(8 * 24 * time.Hour))
	n.ExpireTransactionalIDs()
	if n.HasTransactionalID("idle") || !n.HasTransactionalID("busy") {
		t.Errorf("idle is known: %v, busy: %v", n.HasTransactionalID("idle"), n.HasTransactionalID("busy"))
	}
	if got := idle.write("t", "z", 0); got != invalidProducerIDMapping {
		t.Errorf("a write of the forgotten id: code %d", got)
	}
	n.stop(t)
	again := serve(t, cfg)
	if again.HasTransactionalID("idle") {
		t.Error("the restart knows it again")
	}
	idle.rawConn = dial(t, again.addr)
	idle.must("go on", idle.init(time.Minute, idle.producer, idle.epoch))
}

// Who asks for stable offsets is told to wait while a transaction may move them;
// who does not sees what is committed.
func TestOffsetsOfAnOpenTransaction(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	dial(t, n.addr).createTopic("t", 2)
	outside(t, n, "g").mustCommit("t", 3)
	p := newTxnProducer(t, n, "id", true)
	p.prepare("t", "x", 8)
	look := func(n *node, stable bool) (offset int64, code int16) {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.RequireStable = stable
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0}}}}}
		r := call[*kmsg.OffsetFetchResponse](dial(t, n.addr), 8, req).Groups[0].Topics[0].Partitions[0]
		return r.Offset, r.ErrorCode
	}
	for when, n := range map[string]*node{"live": n, "after a restart": serve(t, broker.Config{FS: fsys.Clone()})} {
		if _, code := look(n, true); code != unstableOffsetCommit {
			t.Errorf("%s, stable: code %d", when, code)
		}
		if offset, code := look(n, false); offset != 3 || code != 0 {
			t.Errorf("%s: offset %d, code %d", when, offset, code)
		}
	}
	p.must("EndTxn", p.end(true))
	n.EndTransactions(t)
	if offset, code := look(n, true); offset != 8 || code != 0 {
		t.Errorf("after the commit: offset %d, code %d", offset, code)
	}
}

// From its first record to the answer to its commit, a transaction over two
// partitions with offsets waits for three sync rounds: its records with the
// record that names their partitions, its offsets, its decision. The markers may
// begin a fourth before the answer is counted.
func TestTransactionCostsThreeRounds(t *testing.T) {
	n := serve(t, broker.Config{FS: openDir(t, t.TempDir())})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	best := int64(100)
	for i := range int64(30) {
		before, _ := n.TransactionRounds()
		p.transaction("t", "x", i, true)
		n.EndTransactions(t)
		after, _ := n.TransactionRounds()
		best = min(best, after-before)
	}
	all, transactions := n.TransactionRounds()
	t.Logf("%d rounds for %d transactions, at best %d", all, transactions, best)
	if best > 3 || all > 4*transactions {
		t.Errorf("%d rounds for %d transactions, at best %d, want 3 each", all, transactions, best)
	}
}
