package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// txns is the edge of the transactions. It owns the state of every transactional
// id (package txn decides), the topic that makes it durable, and the goroutines
// that write markers and watch timeouts. The rest of the broker knows it by what
// is in this file, by produce's and the groups' use of txnGuard, and by
// writeMarker.
//
// A request locks one id, lets it decide, appends what must survive, and
// unlocks; its answer waits for the sync of what was appended. A decision about a
// transaction (prepare) is durable before the first marker is appended, the
// markers are durable before the id is complete, and a start finishes what was
// prepared (T1). So a transaction is committed when its prepare is durable:
// EndTxn is answered then, and markers follow. A request of the same client that
// comes before they are written waits for them, where Kafka lets the client ask
// again.
//
// A client of version 2 adds a partition by writing to it. Record and data go
// into one sync round. If a crash keeps the data and loses the record, the start
// brings the partition back into the transaction: with one node, nobody else can
// have decided about it.
//
// Locks are taken in this order: liveTxn.mu; then liveGroup.mu, txnShard.mu,
// txns.mu or a log's own. liveTxn.mu is held while its client's batches are
// appended, never while waiting for a disk sync or another client.
//
// What is bounded, and what happens at the bound: transactional ids by
// maxTransactionalIDs (COORDINATOR_NOT_AVAILABLE); those that are not used are
// forgotten after transactionalIDExpiration; the goroutines that write markers by
// the ids, one each, where no connection does it; the transaction topic by
// compaction.
type txns struct {
	b *Broker

	shards   atomic.Pointer[[]*txnShard] // nil until the transaction topic exists
	creating sync.Mutex                  // held while it is made
	ids      atomic.Int64
	damaged  bool // the start could not read all of it

	mu struct {
		sync.Mutex
		ongoing map[*liveTxn]record.Timestamp // when each times out
	}

	ctx     context.Context // ends when the broker closes
	stop    context.CancelFunc
	running sync.WaitGroup
	counts  txnCounts
}

const (
	maxTransactionalIDs = 1_000_000

	// maxTransactionTimeout is Kafka's transaction.max.timeout.ms.
	maxTransactionTimeout = 15 * time.Minute

	// transactionalIDExpiration is Kafka's transactional.id.expiration.ms.
	transactionalIDExpiration = 7 * 24 * time.Hour

	// timeoutInterval is how often transactions that lasted too long are looked
	// for. Kafka looks every 10 s.
	timeoutInterval = time.Second

	// idExpiryInterval is Kafka's interval of looking for unused ids.
	idExpiryInterval = time.Hour
)

// openTxns reads the transactional ids of the data directory, and finishes what
// was decided. Catalog, producer ids and groups are open.
func openTxns(b *Broker) *txns {
	x := &txns{b: b}
	x.mu.ongoing = map[*liveTxn]record.Timestamp{}
	x.ctx, x.stop = context.WithCancel(context.Background())
	if t := b.catalog.topics.named(transactionsTopic); t != nil {
		x.openShards(t)
	}
	x.recover()
	x.running.Go(x.keep)
	if b.cfg.Registerer != nil {
		x.register(b.cfg.Registerer)
	}
	return x
}

// handlers are the request kinds that belong to transactions.
func (x *txns) handlers() map[kmsg.Key]handler {
	return map[kmsg.Key]handler{
		kmsg.InitProducerID:       on(x.initProducerID),
		kmsg.AddPartitionsToTxn:   on(x.addPartitions),
		kmsg.AddOffsetsToTxn:      on(x.addOffsets),
		kmsg.EndTxn:               on(x.endTxn),
		kmsg.WriteTxnMarkers:      on(x.writeTxnMarkers),
		kmsg.TxnOffsetCommit:      on(x.txnOffsetCommit),
		kmsg.DescribeProducers:    on(x.describeProducers),
		kmsg.DescribeTransactions: on(x.describeTransactions),
		kmsg.ListTransactions:     on(x.listTransactions),
	}
}

// close stops the goroutines. Decisions whose markers are not all written are
// finished by the next start. No handler and no reply runs any more.
func (x *txns) close() {
	x.stop()
	x.running.Wait()
}

// now is the wall clock: timeouts outlive a restart.
func (x *txns) now() record.Timestamp { return record.TimestampOf(x.b.cfg.Now()) }

// keep ends transactions that lasted too long, and forgets ids that nobody uses.
func (x *txns) keep() {
	timeouts, expiry := time.NewTicker(timeoutInterval), time.NewTicker(idExpiryInterval)
	defer timeouts.Stop()
	defer expiry.Stop()
	clock := wallClock{now: x.b.cfg.Now}
	clock.jumped()
	for {
		select {
		case <-timeouts.C:
			x.abortOverdue()
		case <-expiry.C:
			if by, jumped := clock.jumped(); jumped {
				x.b.logger.Warn("the wall clock jumped: transactional ids are not expired in this round", "by", by)
				continue
			}
			x.expireIDs()
		case <-x.ctx.Done():
			return
		}
	}
}

// abortOverdue aborts the transactions whose clients have let their timeout pass.
func (x *txns) abortOverdue() {
	now := x.now()
	for _, lt := range x.overdue(now) {
		lt.mu.Lock()
		if t := lt.mu.txn; t.Overdue(now) {
			if err := lt.store(t.Abort(now)); err != nil {
				x.b.complaints.warn("a transaction that lasted too long could not be aborted; it is tried again", "transactional_id", lt.id, "error", err)
			} else {
				x.counts.timedOut.Add(1)
				x.b.logger.Info("transaction aborted: it lasted longer than its client allowed", "transactional_id", lt.id,
					"producer_id", t.Producer.ID, "timeout_ms", t.TimeoutMs, "partitions", len(t.Partitions))
			}
		}
		lt.mu.Unlock()
	}
}

func (x *txns) overdue(now record.Timestamp) []*liveTxn {
	x.mu.Lock()
	defer x.mu.Unlock()
	var late []*liveTxn
	for lt, by := range x.mu.ongoing {
		if now >= by {
			late = append(late, lt)
		}
	}
	return late
}

// expireIDs forgets the ids that were not used for long.
func (x *txns) expireIDs() {
	now := x.now()
	for _, lt := range x.all() {
		lt.mu.Lock()
		if !lt.mu.gone && lt.mu.txn.Expired(now, transactionalIDExpiration) {
			if err := lt.forget(); err != nil {
				x.b.logger.Warn("an unused transactional id could not be removed; the next round tries again", "transactional_id", lt.id, "error", err)
			}
		}
		lt.mu.Unlock()
	}
}
