package broker_test

import (
	"fmt"
	"math/rand/v2"
)

// recordedRandom is how many random scripts of transactions are recorded; a run
// beside a real Kafka plays randomScripts of them.
const recordedRandom = 60

func randomTxnScripts(count int) []script {
	var all []script
	for seed := range uint64(count) {
		all = append(all, randomTxnScript(seed))
	}
	return all
}

// randomTxnScript is 25 verbs of two transactional producers, which now and then
// do what they should not, over one topic and one group.
func randomTxnScript(seed uint64) script {
	return script{fmt.Sprintf("txn random %d", seed), func(s *session) {
		rng := rand.New(rand.NewPCG(seed, 2))
		createTopic(s, "a", 2)
		producers := []*scriptTxn{newTxn(s, "one"), newTxn(s, "two")}
		speaks := []txnVersions{[]txnVersions{txnV1, txnV2}[rng.IntN(2)], []txnVersions{txnV1, txnV2}[rng.IntN(2)]}
		for range 25 {
			i := rng.IntN(2)
			randomTxnVerb(s, rng, producers[i], speaks[i])
		}
		for _, p := range producers {
			p.init(4, -1, -1)
			p.settle()
			p.describe()
		}
		for partition := range int32(2) {
			fetchCommitted(s, "a", partition, 0)
			describeProducers(s, "a", partition)
			offsetFetchStable(s, "g", "a", partition, true)
		}
	}}
}

func randomTxnVerb(s *session, rng *rand.Rand, p *scriptTxn, v txnVersions) {
	partition := rng.Int32N(2)
	commit := rng.IntN(2) == 0
	switch rng.IntN(18) {
	case 0, 1, 2, 3:
		if v == txnV1 && rng.IntN(4) > 0 {
			p.add(3, "a", partition)
		}
		p.produce(v, "a", partition, fmt.Sprint(rng.IntN(100)))
	case 4, 5, 6:
		p.end(v, commit)
	case 7:
		if v == txnV1 && rng.IntN(4) > 0 {
			p.addOffsets("g")
		}
		p.commitOffset(v, "g", "a", partition, rng.Int64N(100))
	case 8:
		p.init(4, p.producer, p.epoch)
	case 9:
		p.init(4, -1, -1)
	case 10:
		p.endAs(v, commit, p.epoch-1)
	case 11:
		old := p.batch("a", partition, "old")
		old.epoch = max(old.epoch-1, 0)
		p.produceAs(v, &p.id, "a", partition, old)
	case 12:
		gap := p.batch("a", partition, "gap")
		gap.sequence += 1 + rng.Int32N(3)
		p.produceAs(v, &p.id, "a", partition, gap)
	case 13:
		produce(s, -1, "a", partition, plain("plain"))
	case 14:
		fetchCommitted(s, "a", partition, rng.Int64N(6))
		listCommitted(s, "a", partition, -1)
	case 15:
		offsetFetchStable(s, "g", "a", partition, commit)
	case 16:
		p.describe()
		describeProducers(s, "a", partition)
	case 17:
		offsetCommit(s, "g", -1, "", "a", partition, rng.Int64N(100))
	}
}
