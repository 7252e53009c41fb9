package broker_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// script is one conversation with a broker. It must wait for nothing but
// answers, so that its transcript is the same on each run.
type script struct {
	name string
	run  func(s *session)
}

// handScripts each tell one story; randomScript mixes the same verbs by seed.
var handScripts = []script{
	{"topic life", func(s *session) {
		createTopic(s, "a", 3)
		createTopic(s, "a", 1)
		metadata(s, false, "a", "missing")
		deleteTopic(s, "a")
		deleteTopic(s, "a")
		metadata(s, false, "a")
	}},
	{"bad topic names", func(s *session) {
		for _, name := range []string{"", ".", "..", "with space", "slash/es", "ä"} {
			createTopic(s, name, 1)
		}
	}},
	{"partition counts", func(s *session) {
		createTopic(s, "zero", 0)
		createTopic(s, "a", 2)
		createPartitions(s, "a", 4)
		createPartitions(s, "a", 3)
		createPartitions(s, "a", 4)
		createPartitions(s, "missing", 4)
		metadata(s, false, "a")
	}},
	{"auto creation", func(s *session) {
		metadata(s, false, "auto")
		metadata(s, true, "auto")
		listOffsets(s, "auto", 0, -1)
	}},
	{"produce and fetch", func(s *session) {
		createTopic(s, "a", 1)
		produce(s, -1, "a", 0, plain("one", "two"))
		produce(s, -1, "a", 0, plain("three"))
		fetch(s, "a", 0, 0)
		fetch(s, "a", 0, 1)
		fetch(s, "a", 0, 3)
		fetch(s, "a", 0, 4)
		fetch(s, "a", 0, -5)
		fetch(s, "a", 7, 0)
		fetch(s, "missing", 0, 0)
		listOffsets(s, "a", 0, -1)
		listOffsets(s, "a", 0, -2)
	}},
	{"produce to nowhere", func(s *session) {
		createTopic(s, "a", 1)
		produce(s, -1, "a", 5, plain("x"))
		produce(s, -1, "missing", 0, plain("x"))
		produce(s, 2, "a", 0, plain("x"))
	}},
	{"spoilt batches", func(s *session) {
		createTopic(s, "a", 1)
		bad := plain("x")
		bad.spoilCRC = true
		produce(s, -1, "a", 0, bad)
		old := plain("x")
		old.magic = 1
		produce(s, -1, "a", 0, old)
		listOffsets(s, "a", 0, -1)
	}},
	{"idempotent producer", func(s *session) {
		createTopic(s, "a", 1)
		id, epoch := initProducer(s)
		for _, sequence := range []int32{0, 1, 1, 0, 3, 2, 3} {
			b := plain(fmt.Sprint("s", sequence))
			b.producer, b.epoch, b.sequence = id, epoch, sequence
			produce(s, -1, "a", 0, b)
		}
		fetch(s, "a", 0, 0)
		b := plain("old epoch")
		b.producer, b.epoch, b.sequence = id, epoch+1, 0
		produce(s, -1, "a", 0, b)
		b.epoch, b.sequence = epoch, 4
		produce(s, -1, "a", 0, b)
		listOffsets(s, "a", 0, -1)
	}},
	{"sequence wraps", func(s *session) {
		createTopic(s, "a", 1)
		id, epoch := initProducer(s)
		for _, sequence := range []int32{2147483646, 2147483647, 0, 1} {
			b := plain(fmt.Sprint("s", sequence))
			b.producer, b.epoch, b.sequence = id, epoch, sequence
			produce(s, -1, "a", 0, b)
		}
	}},
	{"delete records", func(s *session) {
		createTopic(s, "a", 1)
		for _, value := range []string{"0", "1", "2", "3", "4"} {
			produce(s, -1, "a", 0, plain(value))
		}
		deleteRecords(s, "a", 0, 2)
		listOffsets(s, "a", 0, -2)
		fetch(s, "a", 0, 1)
		fetch(s, "a", 0, 2)
		deleteRecords(s, "a", 0, 99)
		deleteRecords(s, "a", 0, -1)
		listOffsets(s, "a", 0, -2)
		listOffsets(s, "a", 0, -1)
		deleteRecords(s, "missing", 0, 0)
		deleteRecords(s, "a", 3, 0)
	}},
	{"offsets by time", func(s *session) {
		createTopic(s, "a", 1)
		for _, at := range []int64{1000, 3000, 2000, 5000} {
			b := plain(fmt.Sprint(at))
			b.at = at
			produce(s, -1, "a", 0, b)
		}
		for _, at := range []int64{0, 1000, 1001, 2500, 3001, 5000, 5001} {
			listOffsets(s, "a", 0, at)
		}
		listOffsets(s, "a", 3, -1)
		listOffsets(s, "missing", 0, -1)
	}},
	{"largest timestamp", func(s *session) {
		createTopic(s, "a", 1)
		listOffsets(s, "a", 0, -3)
		for _, at := range []int64{1000, 3000, 2000} {
			b := plain(fmt.Sprint(at))
			b.at = at
			produce(s, -1, "a", 0, b)
		}
		listOffsets(s, "a", 0, -3)
	}},
	{"simple consumer offsets", func(s *session) {
		createTopic(s, "a", 2)
		offsetFetch(s, "g", "a", 0)
		offsetCommit(s, "g", -1, "", "a", 0, 7)
		offsetCommit(s, "g", -1, "", "a", 1, 9)
		offsetFetch(s, "g", "a", 0)
		offsetFetchAll(s, "g")
		offsetCommit(s, "g", -1, "", "missing", 0, 1)
		describeGroup(s, "g")
		listGroups(s)
		deleteGroup(s, "g")
		deleteGroup(s, "g")
		offsetFetch(s, "g", "a", 0)
	}},
	{"group of one", func(s *session) {
		createTopic(s, "a", 1)
		member := joinNew(s, "g")
		syncGroup(s, "g", 1, member, true)
		heartbeat(s, "g", 1, member)
		heartbeat(s, "g", 0, member)
		heartbeat(s, "g", 1, "stranger")
		describeGroup(s, "g")
		offsetCommit(s, "g", 1, member, "a", 0, 3)
		offsetCommit(s, "g", 0, member, "a", 0, 4)
		offsetCommit(s, "g", 1, "stranger", "a", 0, 5)
		offsetCommit(s, "g", -1, "", "a", 0, 6)
		offsetFetch(s, "g", "a", 0)
		deleteGroup(s, "g")
		offsetDelete(s, "g", "a", 0)
		leave(s, "g", member)
		leave(s, "g", member)
		heartbeat(s, "g", 1, member)
		describeGroup(s, "g")
		offsetDelete(s, "g", "a", 0)
		offsetFetch(s, "g", "a", 0)
		deleteGroup(s, "g")
	}},
	{"group strangers", func(s *session) {
		heartbeat(s, "none", 1, "m")
		syncGroup(s, "none", 1, "m", false)
		leave(s, "none", "m")
		describeGroup(s, "none")
		deleteGroup(s, "none")
		joinAs(s, "none", "made-up-member")
		joinAs(s, "", "")
	}},
	{"topic configs", func(s *session) {
		createTopic(s, "a", 1)
		alter(s, "a", "retention.ms", "60000")
		describe(s, "a", "retention.ms")
		alter(s, "a", "retention.ms", "not a number")
		alter(s, "a", "no.such.config", "1")
		alter(s, "missing", "retention.ms", "1")
		unset(s, "a", "retention.ms")
		describe(s, "a", "retention.ms")
		describe(s, "missing", "retention.ms")
	}},
	{"oversized record", func(s *session) {
		createTopic(s, "a", 1)
		alter(s, "a", "max.message.bytes", "200")
		produce(s, -1, "a", 0, plain("small"))
		produce(s, -1, "a", 0, plain(string(make([]byte, 500))))
		listOffsets(s, "a", 0, -1)
	}},
	{"leader epochs", func(s *session) {
		createTopic(s, "a", 1)
		produce(s, -1, "a", 0, plain("x"))
		epochEnd(s, "a", 0, 0)
		epochEnd(s, "a", 0, 99)
		epochEnd(s, "missing", 0, 0)
	}},
	{"coordinator", func(s *session) {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey = "g"
		do[*kmsg.FindCoordinatorResponse](s, 2, req)
		many := kmsg.NewPtrFindCoordinatorRequest()
		many.CoordinatorKeys = []string{"g", "h"}
		do[*kmsg.FindCoordinatorResponse](s, 4, many)
		odd := kmsg.NewPtrFindCoordinatorRequest()
		odd.CoordinatorKey, odd.CoordinatorType = "g", 9
		do[*kmsg.FindCoordinatorResponse](s, 2, odd)
	}},
}

// randomScript is 30 verbs over two topics, one group and one producer.
func randomScript(seed uint64) script {
	return script{fmt.Sprintf("random %d", seed), func(s *session) {
		rng := rand.New(rand.NewPCG(seed, 1))
		topics := []string{"a", "b"}
		createTopic(s, "a", 2)
		id, epoch := initProducer(s)
		sequences := map[string]int32{}
		for range 30 {
			topic, partition := topics[rng.IntN(2)], rng.Int32N(3)
			switch rng.IntN(14) {
			case 0:
				createTopic(s, topic, 1+rng.Int32N(2))
			case 1:
				if rng.IntN(3) == 0 {
					deleteTopic(s, topic)
					clear(sequences)
				}
			case 2, 3, 4:
				b := plain(fmt.Sprint(rng.IntN(100)), fmt.Sprint(rng.IntN(100)))
				b.at = 1000 + rng.Int64N(50)*100
				produce(s, -1, topic, partition, b)
			case 5:
				key := fmt.Sprint(topic, partition)
				b := plain(fmt.Sprint("seq", sequences[key]))
				b.producer, b.epoch, b.sequence = id, epoch, sequences[key]
				if produce(s, -1, topic, partition, b) == 0 {
					sequences[key]++
				}
			case 6, 7:
				fetch(s, topic, partition, rng.Int64N(8))
			case 8:
				listOffsets(s, topic, partition, []int64{-1, -2, 0, 3000, 99999}[rng.IntN(5)])
			case 9:
				deleteRecords(s, topic, partition, rng.Int64N(6)-1)
			case 10:
				offsetCommit(s, "g", -1, "", topic, partition, rng.Int64N(100))
			case 11:
				offsetFetch(s, "g", topic, partition)
			case 12:
				metadata(s, false, topic)
			case 13:
				createPartitions(s, topic, 1+rng.Int32N(3))
			}
		}
	}}
}
