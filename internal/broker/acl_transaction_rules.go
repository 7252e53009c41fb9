package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
)

var transactionDenied = kerr.TransactionalIDAuthorizationFailed.Code

// transactionRules are those of requests about producers and transactions.
func transactionRules() map[kmsg.Key]rule {
	return map[kmsg.Key]rule{
		kmsg.InitProducerID:       ruled(mayInitProducerID),
		kmsg.AddPartitionsToTxn:   ruled(mayAddPartitionsToTxn),
		kmsg.AddOffsetsToTxn:      ruled(mayAddOffsetsToTxn),
		kmsg.EndTxn:               ruled(mayEndTxn),
		kmsg.WriteTxnMarkers:      ruled(mayWriteTxnMarkers),
		kmsg.TxnOffsetCommit:      ruled(mayTxnOffsetCommit),
		kmsg.DescribeProducers:    ruled(mayDescribeProducers),
		kmsg.DescribeTransactions: ruled(mayDescribeTransactions),
		kmsg.ListTransactions:     ruled(mayListTransactions),
	}
}

func (c *conn) mayTransaction(o auth.Operation, id string) bool {
	return c.may(o, auth.TransactionalID, id)
}

// mayInitProducerID lets everybody be idempotent who may write somewhere.
func mayInitProducerID(c *conn, req *kmsg.InitProducerIDRequest, v *verdict) {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case req.TransactionalID != nil && !c.mayTransaction(auth.Write, *req.TransactionalID):
		resp.ErrorCode = transactionDenied
	case req.TransactionalID == nil && !c.mayCluster(auth.IdempotentWrite) && !c.mayWriteSome():
		resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
	default:
		return
	}
	v.instead = resp
}

// batchedAdds is the first AddPartitionsToTxn version that is for brokers only.
const batchedAdds = 4

// mayAddPartitionsToTxn adds all partitions or none: beside a topic that the
// client may not write to, the others are not attempted.
func mayAddPartitionsToTxn(c *conn, req *kmsg.AddPartitionsToTxnRequest, v *verdict) {
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	if req.Version >= batchedAdds {
		if !c.mayCluster(auth.ClusterAction) {
			resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
			v.instead = resp
		}
		return
	}
	known := c.mayTransaction(auth.Write, req.TransactionalID)
	_, denied := part(req.Topics, func(t kmsg.AddPartitionsToTxnRequestTopic) bool { return c.mayTopic(auth.Write, t.Topic) })
	if known && len(denied) == 0 {
		return
	}
	for _, t := range req.Topics {
		code := kerr.OperationNotAttempted.Code
		if !known {
			code = transactionDenied
		} else if !c.mayTopic(auth.Write, t.Topic) {
			code = topicDenied
		}
		rt := kmsg.NewAddPartitionsToTxnResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p, ErrorCode: code})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	v.instead = resp
}

func mayAddOffsetsToTxn(c *conn, req *kmsg.AddOffsetsToTxnRequest, v *verdict) {
	resp := req.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
	switch {
	case !c.mayTransaction(auth.Write, req.TransactionalID):
		resp.ErrorCode = transactionDenied
	case !c.mayGroup(auth.Read, req.Group):
		resp.ErrorCode = groupDenied
	default:
		return
	}
	v.instead = resp
}

func mayEndTxn(c *conn, req *kmsg.EndTxnRequest, v *verdict) {
	if !c.mayTransaction(auth.Write, req.TransactionalID) {
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = transactionDenied, -1, -1
		v.instead = resp
	}
}

// mayWriteTxnMarkers asks for what aborting a hung transaction needs (KIP-1037).
func mayWriteTxnMarkers(c *conn, req *kmsg.WriteTxnMarkersRequest, v *verdict) {
	if c.mayCluster(auth.Alter) || c.mayCluster(auth.ClusterAction) {
		return
	}
	resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	for _, m := range req.Markers {
		rm := kmsg.NewWriteTxnMarkersResponseMarker()
		rm.ProducerID = m.ProducerID
		for _, t := range m.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
				rp.Partition, rp.ErrorCode = p, kerr.ClusterAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			rm.Topics = append(rm.Topics, rt)
		}
		resp.Markers = append(resp.Markers, rm)
	}
	v.instead = resp
}

func mayTxnOffsetCommit(c *conn, req *kmsg.TxnOffsetCommitRequest, v *verdict) {
	switch {
	case !c.mayTransaction(auth.Write, req.TransactionalID):
		v.instead = deniedTxnOffsets(req, req.Topics, transactionDenied)
		return
	case !c.mayGroup(auth.Read, req.Group):
		v.instead = deniedTxnOffsets(req, req.Topics, groupDenied)
		return
	}
	kept, denied := part(req.Topics, func(t kmsg.TxnOffsetCommitRequestTopic) bool {
		return c.mayTopicOf(auth.Read, t.Topic, t.TopicID)
	})
	refusals := deniedTxnOffsets(req, denied, topicDenied)
	if req.Topics = kept; len(kept) == 0 {
		v.instead = refusals
		return
	}
	amend(v, func(resp *kmsg.TxnOffsetCommitResponse) { resp.Topics = append(resp.Topics, refusals.Topics...) })
}

func deniedTxnOffsets(req *kmsg.TxnOffsetCommitRequest, topics []kmsg.TxnOffsetCommitRequestTopic, code int16) *kmsg.TxnOffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, t := range topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func mayDescribeProducers(c *conn, req *kmsg.DescribeProducersRequest, v *verdict) {
	var denied []kmsg.DescribeProducersRequestTopic
	req.Topics, denied = part(req.Topics, func(t kmsg.DescribeProducersRequestTopic) bool { return c.mayTopic(auth.Read, t.Topic) })
	amend(v, func(resp *kmsg.DescribeProducersResponse) {
		for _, t := range denied {
			rt := kmsg.NewDescribeProducersResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewDescribeProducersResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.ErrorMessage = p, topicDenied, textOf(errTopicDenied)
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	})
}

// mayDescribeTransactions also hides the topics that the client may not describe.
func mayDescribeTransactions(c *conn, req *kmsg.DescribeTransactionsRequest, v *verdict) {
	var denied []string
	req.TransactionalIDs, denied = part(req.TransactionalIDs, func(id string) bool { return c.mayTransaction(auth.Describe, id) })
	amend(v, func(resp *kmsg.DescribeTransactionsResponse) {
		for i := range resp.TransactionStates {
			s := &resp.TransactionStates[i]
			s.Topics, _ = part(s.Topics, func(t kmsg.DescribeTransactionsResponseTransactionStateTopic) bool {
				return c.mayTopic(auth.Describe, t.Topic)
			})
		}
		for _, id := range denied {
			s := kmsg.NewDescribeTransactionsResponseTransactionState()
			s.TransactionalID, s.ErrorCode = id, transactionDenied
			resp.TransactionStates = append(resp.TransactionStates, s)
		}
	})
}

func mayListTransactions(c *conn, _ *kmsg.ListTransactionsRequest, v *verdict) {
	amend(v, func(resp *kmsg.ListTransactionsResponse) {
		resp.TransactionStates, _ = part(resp.TransactionStates, func(s kmsg.ListTransactionsResponseTransactionState) bool {
			return c.mayTransaction(auth.Describe, s.TransactionalID)
		})
	})
}
