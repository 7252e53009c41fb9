package broker_test

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// txnScripts are the stories of transactions. Those named v1 and v2 speak one
// version of the transaction protocol (KIP-98, KIP-890).
var txnScripts = []script{
	{"txn v1 commit", func(s *session) { oneTransaction(s, txnV1, true) }},
	{"txn v1 abort", func(s *session) { oneTransaction(s, txnV1, false) }},
	{"txn v2 commit", func(s *session) { oneTransaction(s, txnV2, true) }},
	{"txn v2 abort", func(s *session) { oneTransaction(s, txnV2, false) }},
	{"txn v2 empty", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		p.end(txnV2, false)
		p.describe()
		p.end(txnV2, true)
		p.produce(txnV2, "a", 0, "one")
		p.end(txnV2, true)
		p.end(txnV2, false)
		p.end(txnV2, true)
		p.describe()
		fetchCommitted(s, "a", 0, 0)
	}},
	{"txn adding partitions", func(s *session) {
		createTopic(s, "a", 2)
		p := newTxn(s, "t")
		for _, version := range []int16{0, 3} {
			p.add(version, "a", 0, 7)
			p.add(version, "missing", 0)
		}
		p.describe()
		p.add(1, "a", 0, 1)
		p.add(3, "a", 1)
		p.describe()
		p.list()
		p.list("Ongoing")
		p.list("Empty", "CompleteCommit")
		p.end(txnV1, true)
		p.list("CompleteCommit")
		p.describe()
	}},
	{"txn v1 repeated ends", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		p.add(3, "a", 0)
		p.produce(txnV1, "a", 0, "one")
		p.end(txnV1, true)
		p.end(txnV1, true)
		p.end(txnV1, false)
		p.add(3, "a", 0)
		p.produce(txnV1, "a", 0, "two")
		p.end(txnV1, false)
		p.end(txnV1, false)
		p.end(txnV1, true)
		fetchCommitted(s, "a", 0, 0)
	}},
	{"txn v2 repeated ends", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		p.produce(txnV2, "a", 0, "one")
		old := p.epoch
		p.end(txnV2, true)
		p.endAs(txnV2, true, old)
		p.endAs(txnV2, false, old)
		p.endAs(txnV2, true, old-1)
		p.endAs(txnV2, true, p.epoch+1)
		p.produce(txnV2, "a", 0, "two")
		old = p.epoch
		p.end(txnV2, false)
		p.endAs(txnV2, false, old)
		p.endAs(txnV2, true, old)
		fetchCommitted(s, "a", 0, 0)
		describeProducers(s, "a", 0)
	}},
	{"txn v1 offsets", func(s *session) { offsetsInTransaction(s, txnV1) }},
	{"txn v2 offsets", func(s *session) { offsetsInTransaction(s, txnV2) }},
	{"txn offsets of a member", func(s *session) {
		createTopic(s, "a", 1)
		member := joinNew(s, "g")
		syncGroup(s, "g", 1, member, true)
		p := newTxn(s, "t")
		p.addOffsets("g")
		p.commitOffsetAs(txnV1, "g", 0, member, "a", 0, 1)
		p.commitOffsetAs(txnV1, "g", 1, "stranger", "a", 0, 2)
		p.commitOffsetAs(txnV1, "g", -1, "", "a", 0, 3)
		p.commitOffsetAs(txnV1, "g", 1, member, "missing", 0, 4)
		p.commitOffsetAs(txnV1, "g", 1, member, "a", 0, 5)
		offsetDelete(s, "g", "a", 0)
		p.end(txnV1, true)
		offsetFetchStable(s, "g", "a", 0, true)
		leave(s, "g", member)
	}},
	{"txn readers", func(s *session) {
		createTopic(s, "a", 1)
		one, two := newTxn(s, "one"), newTxn(s, "two")
		one.add(3, "a", 0)
		two.add(3, "a", 0)
		produce(s, -1, "a", 0, plain("plain 0"))
		one.produce(txnV1, "a", 0, "one 1", "one 2")
		two.produce(txnV1, "a", 0, "two 3")
		produce(s, -1, "a", 0, plain("plain 4"))
		readers(s)
		two.end(txnV1, false)
		readers(s)
		two.add(3, "a", 0)
		two.produce(txnV1, "a", 0, "two 6")
		one.end(txnV1, false)
		readers(s)
		two.end(txnV1, true)
		readers(s)
		one.add(3, "a", 0)
		one.produce(txnV1, "a", 0, "one 9")
		one.end(txnV1, false)
		readers(s)
		deleteRecords(s, "a", 0, 4)
		readers(s)
		describeProducers(s, "a", 0, 5)
	}},
	{"txn coordinators", func(s *session) {
		newTxn(s, "t")
		for _, version := range []int16{4, 5, 6} {
			coordinators(s, version, 1, "t"+s.suffix, "u"+s.suffix)
		}
	}},
	{"txn after a deletion", func(s *session) {
		createTopic(s, "doomed", 1) // a name of its own: Kafka may write the marker to the next topic called so
		createTopic(s, "b", 1)
		p := newTxn(s, "t")
		p.produce(txnV2, "doomed", 0, "gone")
		p.produce(txnV2, "b", 0, "stays")
		deleteTopic(s, "doomed")
		p.end(txnV2, true)
		fetchCommitted(s, "b", 0, 0)
	}},
}

// kafkaTxnScripts tell where kfake goes a way of its own: it takes other producers
// for the id's own, knows no fencing by epoch at init, and no batches of additions.
var kafkaTxnScripts = []script{
	{"txn v1 without partitions", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		p.produce(txnV1, "a", 0, "not added")
		p.end(txnV1, true)
		p.end(txnV1, false)
		p.describe()
		listOffsets(s, "a", 0, -1)
	}},
	{"txn adding partitions in batches", func(s *session) {
		createTopic(s, "a", 2)
		p := newTxn(s, "t")
		p.addBatched(4, true, "a", 0)
		p.addBatched(4, false, "a", 0, 9)
		p.addBatched(4, false, "a", 0)
		p.addBatched(4, true, "a", 0)
		p.addBatched(5, true, "a", 0, 1)
		p.addBatched(5, false, "a", 1)
		p.epoch++
		p.addBatched(5, false, "a", 1)
		p.epoch--
		p.end(txnV1, false)
		p.addBatched(4, true, "a", 0)
	}},
	{"txn v1 timeout", func(s *session) { timeout(s, txnV1) }},
	{"txn v2 timeout", func(s *session) { timeout(s, txnV2) }},
	{"txn v1 fencing", func(s *session) { fencing(s, txnV1) }},
	{"txn v2 fencing", func(s *session) { fencing(s, txnV2) }},
	{"txn init with an epoch", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		p.init(3, p.producer, p.epoch)
		p.init(4, p.producer, p.epoch)
		p.init(4, p.producer, p.epoch-1)
		p.init(4, p.producer, p.epoch+5)
		p.init(4, p.producer+1, p.epoch)
		p.init(4, p.producer, -1)
		p.init(4, -1, 3)
		p.add(3, "a", 0)
		p.produce(txnV1, "a", 0, "aborted by the next init")
		p.init(4, p.producer, p.epoch)
		p.settle()
		p.describe()
		fetchCommitted(s, "a", 0, 0)
		p.init(5, -1, -1)
	}},
	{"txn wrong producers", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		stranger := *p
		stranger.id = "nobody" + s.suffix
		stranger.add(3, "a", 0)
		stranger.end(txnV1, true)
		stranger.end(txnV2, true)
		stranger.addOffsets("g")
		stranger.produce(txnV2, "a", 0, "x")
		stranger.describe()
		stranger = *p
		stranger.producer += 1000
		stranger.add(3, "a", 0)
		stranger.end(txnV1, true)
		stranger.end(txnV2, true)
		stranger.addOffsets("g")
		stranger.produce(txnV2, "a", 0, "x")
		for _, timeout := range []int32{0, -1, 1_000_000_000} {
			initWith(s, 3, "u"+s.suffix, timeout, -1, -1)
		}
		initWith(s, 3, "", 60_000, -1, -1)
	}},
	{"txn odd batches", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		p.add(3, "a", 0)
		inside := p.batch("a", 0, "transactional")
		outside := inside
		outside.attrs = 0
		p.produceAs(txnV1, nil, "a", 0, inside)
		p.produceAs(txnV1, &p.id, "a", 0, outside)
		control := inside
		control.attrs |= 0x20
		p.produceAs(txnV1, &p.id, "a", 0, control)
		gap := inside
		gap.sequence += 5
		p.produceAs(txnV1, &p.id, "a", 0, gap)
		p.produce(txnV1, "a", 0, "good")
		p.end(txnV1, true)
		fetch(s, "a", 0, 0)
	}},
	{"txn batch of nobody", func(s *session) {
		createTopic(s, "a", 1)
		p := newTxn(s, "t")
		p.add(3, "a", 0)
		nobody := p.batch("a", 0, "transactional")
		nobody.producer, nobody.epoch, nobody.sequence = -1, -1, -1
		p.produceAs(txnV1, &p.id, "a", 0, nobody)
	}},
	{"txn markers by hand", func(s *session) {
		createTopic(s, "a", 2)
		p := newTxn(s, "t")
		p.init(3, -1, -1)
		p.add(3, "a", 0)
		p.produce(txnV1, "a", 0, "hung")
		p.mark(1, false, p.epoch-1, "a", 0)
		p.mark(1, false, p.epoch, "a", 0, 7)
		fetchCommitted(s, "a", 0, 0)
		p.mark(1, true, p.epoch, "missing", 0)
		p.end(txnV1, true)
		fetchCommitted(s, "a", 0, 0)
		listOffsets(s, "a", 0, -1)
	}},
}

func oneTransaction(s *session, v txnVersions, commit bool) {
	createTopic(s, "a", 2)
	p := newTxn(s, "t")
	if v == txnV1 {
		p.add(3, "a", 0, 1)
	}
	produce(s, -1, "a", 0, plain("before"))
	p.produce(v, "a", 0, "one")
	p.produce(v, "a", 1, "two", "three")
	p.produce(v, "a", 0, "four")
	p.describe()
	describeProducers(s, "a", 0, 1)
	fetchCommitted(s, "a", 0, 0)
	fetch(s, "a", 0, 0)
	listCommitted(s, "a", 0, -1)
	listOffsets(s, "a", 0, -1)
	p.end(v, commit)
	p.describe()
	describeProducers(s, "a", 0, 1)
	fetchCommitted(s, "a", 0, 0)
	fetchCommitted(s, "a", 1, 0)
	fetchCommitted(s, "a", 1, 1)
	fetch(s, "a", 0, 0)
	listCommitted(s, "a", 0, -1)
	listOffsets(s, "a", 1, -1)
}

// fencing has a second instance take over while the first has a transaction open.
func fencing(s *session, v txnVersions) {
	createTopic(s, "a", 1)
	first := newTxn(s, "t")
	if v == txnV1 {
		first.add(3, "a", 0)
	}
	first.produce(v, "a", 0, "of the first")
	second := newTxn(s, "t")
	second.settle()
	fetchCommitted(s, "a", 0, 0)
	first.produce(v, "a", 0, "too late")
	for _, version := range []int16{0, 2, 3} {
		first.add(version, "a", 0)
	}
	first.addBatched(5, false, "a", 0)
	first.end(v, true)
	first.endAs(txnVersions{end: 2}, true, first.epoch)
	first.addOffsets("g")
	first.commitOffset(v, "g", "a", 0, 1)
	first.init(4, first.producer, first.epoch)
	if v == txnV1 {
		second.add(3, "a", 0)
	}
	second.produce(v, "a", 0, "of the second")
	first.produce(v, "a", 0, "still too late")
	second.end(v, true)
	fetchCommitted(s, "a", 0, 0)
	describeProducers(s, "a", 0)
}

// timeout lets a transaction last longer than its client allowed. The request that
// begins it is the only one before, so that it does not matter how fast we are.
func timeout(s *session, v txnVersions) {
	createTopic(s, "a", 1)
	p := newTxn(s, "t")
	started := initWith(s, 4, p.id, 500, p.producer, p.epoch)
	p.epoch = started.ProducerEpoch
	if v == txnV1 {
		p.add(3, "a", 0)
	} else {
		p.produce(v, "a", 0, "lost")
	}
	p.awaitState("CompleteAbort")
	p.describe()
	describeProducers(s, "a", 0)
	p.produce(v, "a", 0, "too late")
	p.add(3, "a", 0)
	p.addOffsets("g")
	p.end(v, true)
	p.end(v, false)
	old := p.epoch
	p.init(4, p.producer, old)
	p.init(4, p.producer, old)
	if v == txnV1 {
		p.add(3, "a", 0)
	}
	p.produce(v, "a", 0, "after all")
	p.end(v, true)
	p.init(4, p.producer, old)
	fetchCommitted(s, "a", 0, 0)
}

func offsetsInTransaction(s *session, v txnVersions) {
	createTopic(s, "a", 2)
	p := newTxn(s, "t")
	offsetCommit(s, "g", -1, "", "a", 1, 3)
	if v == txnV1 {
		p.commitOffset(v, "g", "a", 0, 7)
		p.addOffsets("g")
	}
	p.commitOffset(v, "g", "a", 0, 7)
	p.commitOffset(v, "g", "a", 9, 7)
	p.describe()
	for _, stable := range []bool{true, false} {
		offsetFetchStable(s, "g", "a", 0, stable)
		offsetFetchStable(s, "g", "a", 1, stable)
	}
	p.end(v, true)
	offsetFetchStable(s, "g", "a", 0, true)
	if v == txnV1 {
		p.addOffsets("g")
	}
	p.commitOffset(v, "g", "a", 0, 9)
	p.commitOffset(v, "g", "a", 1, 9)
	offsetFetchStable(s, "g", "a", 0, true)
	offsetFetchStable(s, "g", "a", 0, false)
	offsetCommit(s, "g", -1, "", "a", 1, 4)
	p.end(v, false)
	offsetFetchStable(s, "g", "a", 0, true)
	offsetFetchStable(s, "g", "a", 1, true)
	deleteGroup(s, "g")
	many := kmsg.NewPtrOffsetFetchRequest()
	many.RequireStable = true
	many.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", MemberEpoch: -1}}
	do[*kmsg.OffsetFetchResponse](s, 9, many)
}

// readers looks at partition 0 of topic a from several places.
func readers(s *session) {
	for _, offset := range []int64{0, 1, 3, 5, 8} {
		fetchCommitted(s, "a", 0, offset)
	}
	fetch(s, "a", 0, 0)
	listCommitted(s, "a", 0, -1)
	listOffsets(s, "a", 0, -1)
}
