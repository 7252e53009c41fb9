package broker_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The verbs of transactions. A transactional ID lives on in a real broker, so
// each session's have an ending of their own that the transcript leaves out.

// scriptTxn is a transactional producer as a script sees it.
type scriptTxn struct {
	s         *session
	id        string
	producer  int64
	epoch     int16
	sequences map[string]int32
}

// txnVersions are the versions that a client of one version of the transaction
// protocol sends (KIP-890).
type txnVersions struct{ produce, end, commitOffsets int16 }

var (
	txnV1 = txnVersions{produce: 8, end: 1, commitOffsets: 3}
	txnV2 = txnVersions{produce: 12, end: 5, commitOffsets: 5}
)

// transient are the codes with which a coordinator asks to be asked again.
var transient = []int16{
	kerr.CoordinatorLoadInProgress.Code, kerr.CoordinatorNotAvailable.Code, kerr.NotCoordinator.Code, kerr.ConcurrentTransactions.Code,
}

// doSettled is do, again and again until the code is not transient. Only the
// last answer comes into the transcript.
func doSettled[R kmsg.Response](s *session, version int16, req kmsg.Request, code func(R) int16) R {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		resp := send[R](s, version, req)
		if !slices.Contains(transient, code(resp)) || time.Now().After(deadline) {
			s.record(req, version, resp)
			return resp
		}
	}
}

// newTxn makes a transactional producer with a name of its own.
func newTxn(s *session, name string) *scriptTxn {
	p := &scriptTxn{s: s, id: name + s.suffix, sequences: map[string]int32{}}
	probe := kmsg.NewPtrFindCoordinatorRequest()
	probe.CoordinatorKey, probe.CoordinatorType = p.id, 1
	for deadline := time.Now().Add(patience); send[*kmsg.FindCoordinatorResponse](s, 2, probe).ErrorCode != 0 && time.Now().Before(deadline); {
	}
	p.init(3, -1, -1)
	return p
}

// init asks for producer id and epoch, with those that the client has or -1.
func (p *scriptTxn) init(version int16, producer int64, epoch int16) int16 {
	resp := initWith(p.s, version, p.id, 60_000, producer, epoch)
	if resp.ErrorCode == 0 {
		p.producer, p.epoch = resp.ProducerID, resp.ProducerEpoch
		clear(p.sequences)
	}
	return resp.ErrorCode
}

func initWith(s *session, version int16, id string, timeoutMs int32, producer int64, epoch int16) *kmsg.InitProducerIDResponse {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id, timeoutMs
	req.ProducerID, req.ProducerEpoch = producer, epoch
	return doSettled(s, version, req, func(r *kmsg.InitProducerIDResponse) int16 { return r.ErrorCode })
}

// add names partitions of a topic as the transaction's.
func (p *scriptTxn) add(version int16, topic string, partitions ...int32) {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.id, p.producer, p.epoch
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}}
	doSettled(p.s, version, req, func(r *kmsg.AddPartitionsToTxnResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
}

// addBatched is add as brokers and newer clients do it.
func (p *scriptTxn) addBatched(version int16, verify bool, topic string, partitions ...int32) {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{
		TransactionalID: p.id, ProducerID: p.producer, ProducerEpoch: p.epoch, VerifyOnly: verify,
		Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: topic, Partitions: partitions}},
	}}
	doSettled(p.s, version, req, func(r *kmsg.AddPartitionsToTxnResponse) int16 {
		if len(r.Transactions) == 0 || len(r.Transactions[0].Topics) == 0 {
			return r.ErrorCode
		}
		return r.Transactions[0].Topics[0].Partitions[0].ErrorCode
	})
}

// batch is the producer's next batch for the partition.
func (p *scriptTxn) batch(topic string, partition int32, values ...string) batchSpec {
	b := plain(values...)
	b.attrs |= 0x10 // transactional
	b.producer, b.epoch, b.sequence = p.producer, p.epoch, p.sequences[fmt.Sprint(topic, partition)]
	return b
}

func (p *scriptTxn) produce(v txnVersions, topic string, partition int32, values ...string) {
	if p.produceAs(v, &p.id, topic, partition, p.batch(topic, partition, values...)) == 0 {
		p.sequences[fmt.Sprint(topic, partition)] += int32(len(values))
	}
}

func (p *scriptTxn) produceAs(v txnVersions, id *string, topic string, partition int32, b batchSpec) int16 {
	req := produceRequest(-1, topic, partition, b.bytes())
	req.TransactionID = id
	resp := doSettled(p.s, v.produce, req, func(r *kmsg.ProduceResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return resp.Topics[0].Partitions[0].ErrorCode
}

// end ends the transaction, and waits until the broker has done all of it.
func (p *scriptTxn) end(v txnVersions, commit bool) {
	resp := p.endAs(v, commit, p.epoch)
	if resp.ErrorCode == 0 && v.end >= 5 {
		if resp.ProducerID != p.producer || resp.ProducerEpoch != p.epoch {
			clear(p.sequences)
		}
		p.producer, p.epoch = resp.ProducerID, resp.ProducerEpoch
	}
}

func (p *scriptTxn) endAs(v txnVersions, commit bool, epoch int16) *kmsg.EndTxnResponse {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.id, p.producer, epoch, commit
	resp := doSettled(p.s, v.end, req, func(r *kmsg.EndTxnResponse) int16 { return r.ErrorCode })
	p.settle()
	return resp
}

// settle waits until the coordinator has written all markers.
func (p *scriptTxn) settle() {
	p.await(func(state string) bool {
		return state != "PrepareCommit" && state != "PrepareAbort" && state != "PrepareEpochFence"
	})
}

// awaitState waits for what the coordinator does by itself; Kafka looks for
// timeouts every 10 s.
func (p *scriptTxn) awaitState(want string) {
	p.await(func(state string) bool { return state == want })
}

func (p *scriptTxn) await(enough func(state string) bool) {
	for deadline := time.Now().Add(givesUp); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{p.id}
		if enough(send[*kmsg.DescribeTransactionsResponse](p.s, 0, req).TransactionStates[0].State) {
			return
		}
	}
	p.s.t.Fatalf("the transaction of %s gets no further", p.id)
}

func (p *scriptTxn) describe() {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{p.id}
	do[*kmsg.DescribeTransactionsResponse](p.s, 0, req)
}

// list asks for this producer's transaction among those in the states.
func (p *scriptTxn) list(states ...string) {
	req := kmsg.NewPtrListTransactionsRequest()
	req.StateFilters, req.ProducerIDFilters = states, []int64{p.producer}
	req.DurationFilterMillis = -1
	do[*kmsg.ListTransactionsResponse](p.s, 1, req)
}

// addOffsets names a group as the transaction's.
func (p *scriptTxn) addOffsets(group string) {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, p.producer, p.epoch, group
	doSettled(p.s, 3, req, func(r *kmsg.AddOffsetsToTxnResponse) int16 { return r.ErrorCode })
}

func (p *scriptTxn) commitOffset(v txnVersions, group, topic string, partition int32, offset int64) {
	p.commitOffsetAs(v, group, -1, "", topic, partition, offset)
}

func (p *scriptTxn) commitOffsetAs(v txnVersions, group string, generation int32, member, topic string, partition int32, offset int64) {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.id, p.producer, p.epoch
	req.Group, req.Generation, req.MemberID = group, generation, member
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset, rp.LeaderEpoch = partition, offset, -1
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	doSettled(p.s, v.commitOffsets, req, func(r *kmsg.TxnOffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
}

// offsetFetchStable is offsetFetch of what no transaction holds back.
func offsetFetchStable(s *session, group, name string, partition int32, stable bool) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = group, stable
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = name, []int32{partition}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.OffsetFetchResponse](s, 7, req)
}

func fetchCommitted(s *session, name string, partition int32, offset int64) {
	req := fetchAsk(name, partition, offset)
	req.IsolationLevel = 1
	resp := send[*kmsg.FetchResponse](s, 11, req)
	readOn(s, req, resp)
	s.record(req, 11, resp)
}

// readOn adds to a fetch what its first answer left out: a broker may give less
// than there is, and Kafka often stops at a marker.
func readOn(s *session, req *kmsg.FetchRequest, resp *kmsg.FetchResponse) {
	got := &resp.Topics[0].Partitions[0]
	end := got.HighWatermark
	if req.IsolationLevel == 1 {
		end = got.LastStableOffset
	}
	for next := nextOffset(got.RecordBatches); next > 0 && next < end; {
		req.Topics[0].Partitions[0].FetchOffset = next
		more := send[*kmsg.FetchResponse](s, resp.Version, req).Topics[0].Partitions[0]
		if len(more.RecordBatches) == 0 {
			break
		}
		got.RecordBatches = append(got.RecordBatches, more.RecordBatches...)
		got.AbortedTransactions = append(got.AbortedTransactions, more.AbortedTransactions...)
		next = nextOffset(more.RecordBatches)
	}
	end = nextOffset(got.RecordBatches)
	got.AbortedTransactions = slices.DeleteFunc(got.AbortedTransactions, func(a kmsg.FetchResponseTopicPartitionAbortedTransaction) bool {
		return a.FirstOffset >= end // of no use: it lies behind the records
	})
	slices.SortFunc(got.AbortedTransactions, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	got.AbortedTransactions = slices.CompactFunc(got.AbortedTransactions, sameAborted)
}

// nextOffset is the offset behind whole batches.
func nextOffset(raw []byte) (next int64) {
	for len(raw) >= 61 {
		next = int64(binary.BigEndian.Uint64(raw)) + int64(binary.BigEndian.Uint32(raw[23:])) + 1
		raw = raw[min(len(raw), 12+int(binary.BigEndian.Uint32(raw[8:]))):]
	}
	return next
}

func listCommitted(s *session, name string, partition int32, at int64) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, 1
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: name, Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Partition: partition, Timestamp: at, CurrentLeaderEpoch: -1}}}}
	do[*kmsg.ListOffsetsResponse](s, 7, req)
}

func describeProducers(s *session, name string, partitions ...int32) {
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: partitions}}
	do[*kmsg.DescribeProducersResponse](s, 0, req)
}

// mark writes a marker past the coordinator, as an operator's tool does.
func (p *scriptTxn) mark(version int16, commit bool, epoch int16, topic string, partitions ...int32) {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{
		ProducerID: p.producer, ProducerEpoch: epoch, Committed: commit,
		Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: partitions}},
	}}
	do[*kmsg.WriteTxnMarkersResponse](p.s, version, req)
}
