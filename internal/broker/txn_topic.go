package broker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"millrace/internal/log"
	"millrace/internal/txn"
	"millrace/record"
)

// transactionsPartitions is how many partitions the transaction topic gets when
// it is made. Kafka has 50, to spread ids over nodes; see offsetsPartitions.
const transactionsPartitions = 4

// transactionsSettings keep the newest record of every id; see offsetsSettings.
var transactionsSettings = map[string]string{
	"cleanup.policy": "compact",
	"segment.bytes":  "1048576",
}

// txnShard is one partition of the transaction topic, with the ids that belong
// to it.
type txnShard struct {
	x   *txns
	log *log.Log

	mu struct {
		sync.RWMutex
		ids map[string]*liveTxn
	}
}

func (x *txns) openShards(t *topic) {
	shards := make([]*txnShard, len(t.logs()))
	for p, l := range t.logs() {
		shards[p] = &txnShard{x: x, log: l}
		shards[p].mu.ids = map[string]*liveTxn{}
	}
	x.shards.Store(&shards)
}

// allShards is empty before the topic exists.
func (x *txns) allShards() []*txnShard {
	if shards := x.shards.Load(); shards != nil {
		return *shards
	}
	return nil
}

// find is the id, or nil. Its place is that of Kafka, as for groups.
func (x *txns) find(id string) *liveTxn {
	shards := x.allShards()
	if len(shards) == 0 {
		return nil
	}
	s := shards[partitionFor(id, len(shards))]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.ids[id]
}

// findOrCreate is the id, made if there is none; with it the topic, at the first
// use of transactions in this data directory. It may wait for the disk.
func (x *txns) findOrCreate(id string) (*liveTxn, error) {
	if err := x.createTopic(); err != nil {
		return nil, err
	}
	if lt := x.find(id); lt != nil {
		return lt, nil
	}
	producerID, err := x.b.producerIDs.take()
	if err != nil {
		return nil, err
	}
	shards := x.allShards()
	s := shards[partitionFor(id, len(shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if lt := s.mu.ids[id]; lt != nil {
		return lt, nil
	}
	if x.ids.Load() >= maxTransactionalIDs {
		return nil, errTooManyIDs
	}
	lt := newLiveTxn(s, id, txn.New(producerID, x.now()))
	s.mu.ids[id] = lt
	x.ids.Add(1)
	return lt, nil
}

var errTooManyIDs = fmt.Errorf("broker: %d transactional ids are in use, as many as there may be; those not used for %v are forgotten", maxTransactionalIDs, transactionalIDExpiration)

// createTopic makes the transaction topic durable, unless it exists.
func (x *txns) createTopic() error {
	if x.shards.Load() != nil {
		return nil
	}
	x.creating.Lock()
	defer x.creating.Unlock()
	if x.shards.Load() != nil {
		return nil
	}
	spec := topicSpec{name: transactionsTopic, partitions: transactionsPartitions, settings: transactionsSettings, internal: true}
	if err := x.b.catalog.create([]topicSpec{spec})[0]; err != nil && !errors.Is(err, errTopicExists) {
		err = fmt.Errorf("make %s: %w", transactionsTopic, err)
		x.b.complaints.warn("transactions cannot be served", "error", err)
		return err
	}
	x.openShards(x.b.catalog.topics.named(transactionsTopic))
	return nil
}

// all is every id, by name.
func (x *txns) all() []*liveTxn {
	var all []*liveTxn
	for _, s := range x.allShards() {
		s.mu.RLock()
		all = slices.AppendSeq(all, maps.Values(s.mu.ids))
		s.mu.RUnlock()
	}
	slices.SortFunc(all, func(a, b *liveTxn) int { return cmp.Compare(a.id, b.id) })
	return all
}

// append writes one record. It is in the page cache when it returns; on an error
// nothing was appended. urgent starts a sync at once.
func (s *txnShard) append(r offsetsRecord, urgent bool) (log.Appended, error) {
	b, release, err := buildBatch([]offsetsRecord{r}, record.TimestampOf(s.x.b.cfg.Now()))
	if err != nil {
		return log.Appended{}, fmt.Errorf("write to %s: %w", s.log.TP(), err)
	}
	defer release()
	a, err := s.log.Append(b, log.AppendOptions{Sync: urgent, Internal: true})
	if err != nil {
		s.x.b.complaints.warn("transactions cannot be stored", "error", err)
	}
	return a, err
}
