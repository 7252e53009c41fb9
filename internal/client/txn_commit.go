package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Position is where a group stands in a partition: the next offset to read.
type Position struct {
	Offset      record.Offset // -1: the group has committed none
	LeaderEpoch int32         // of the last record before Offset; -1 when not known
	// Note goes along with the commit and comes back with it; brokers take
	// MaxNoteBytes of them by default.
	Note []byte
}

// MaxNoteBytes is what fits into offset.metadata.max.bytes (4096) as base64.
const MaxNoteBytes = 3072

// Commit commits what was sent since Begin, and the positions, as one. It
// returns true only when the brokers have said so. Anything else, with or
// without an error, means that the outcome is not known: go on with Settle.
//
// The positions carry member id and generation, so a member that the group has
// given up cannot commit. That holds for transactions that were not driven by
// input too, if positions names at least one partition. ctx must not end
// before the transaction timeout: the session is of no use afterwards.
func (s *Session) Commit(ctx context.Context, positions map[record.TopicPartition]Position) (bool, error) {
	if len(positions) == 0 {
		return false, errors.New("commit a transaction: without a position it would not be fenced")
	}
	ctx = kgo.PreTxnCommitFnContext(ctx, func(r *kmsg.TxnOffsetCommitRequest) error {
		if r.MemberID == "" || r.Generation < 0 {
			return errNotMember // without them brokers fence nobody
		}
		if err := s.fetcher.stands(positions); err != nil {
			return err
		}
		setPositions(r, positions)
		return nil
	})
	committed, err := s.group.End(ctx, kgo.TryCommit)
	if err != nil {
		return false, fmt.Errorf("commit a transaction: %w", s.translate(err))
	}
	return committed, nil
}

var errNotMember = errors.New("this instance is not a member of its group at the moment")

// setPositions makes r commit exactly positions. The ids that franz-go knows of
// the topics are kept; without them it falls back to names.
func setPositions(r *kmsg.TxnOffsetCommitRequest, positions map[record.TopicPartition]Position) {
	ids := make(map[string][16]byte, len(r.Topics))
	for _, t := range r.Topics {
		ids[t.Topic] = t.TopicID
	}
	r.Topics = r.Topics[:0]
	at := make(map[record.Topic]int)
	for tp, position := range positions {
		i, known := at[tp.Topic]
		if !known {
			i = len(r.Topics)
			at[tp.Topic] = i
			topic := kmsg.NewTxnOffsetCommitRequestTopic()
			topic.Topic, topic.TopicID = string(tp.Topic), ids[string(tp.Topic)]
			r.Topics = append(r.Topics, topic)
		}
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = int32(tp.Partition), int64(position.Offset), position.LeaderEpoch
		note := base64.StdEncoding.EncodeToString(position.Note)
		p.Metadata = &note
		r.Topics[i].Partitions = append(r.Topics[i].Partitions, p)
	}
}

// Abort ends the open transaction without committing it. Go on with Settle.
func (s *Session) Abort(ctx context.Context) error {
	if _, err := s.group.End(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("abort a transaction: %w", s.translate(err))
	}
	return nil
}

// Settle makes the outcome of the last transaction certain: it is committed or
// aborted when Settle returns, and nothing of it can change any more. An error
// is final for this session; the next one settles with Open.
func (s *Session) Settle(ctx context.Context) error {
	if err := s.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("settle a transaction: %w", s.translate(err))
	}
	// An unconfirmed end has marked the producer id: to ask for it makes the
	// coordinator complete or abort what was open, before it answers.
	if _, _, err := s.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("settle a transaction: %w", s.translate(err))
	}
	return nil
}

// Fence ends what sessions under the given transactional ids have open, and
// makes those sessions unable to commit. It is for instances that are gone from
// the group.
func (s *Session) Fence(ctx context.Context, ids []string) error {
	for _, id := range ids {
		err := s.retry(ctx, func() error {
			r := kmsg.NewPtrInitProducerIDRequest()
			r.TransactionalID = &id
			r.TransactionTimeoutMillis = int32(s.session.TransactionTimeout.Milliseconds())
			response, err := r.RequestWith(ctx, s.client)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(response.ErrorCode)
		})
		if err != nil {
			return fmt.Errorf("fence transactional id %q: %w", id, s.translate(err))
		}
	}
	return nil
}

// Committed asks where the group stands in partitions, and waits until no
// commit for them is pending. A partition without a commit has the offset -1.
//
// It asks for the partitions by name: a broker that is asked for all leaves out
// those without a commit, and with them one whose first commit is pending.
//
// [UnknownTopicError] when the brokers say for several seconds that a topic is
// not the one that this session knew.
func (s *Session) Committed(ctx context.Context, partitions []record.TopicPartition) (map[record.TopicPartition]Position, error) {
	all := make(map[record.TopicPartition]Position, len(partitions))
	if len(partitions) == 0 {
		return all, nil
	}
	missing := 0
	err := s.retry(ctx, func() error {
		clear(all)
		answer, err := s.fetchOffsets(partitions).RequestWith(ctx, s.client)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return err
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				err := kerr.ErrorForCode(p.ErrorCode)
				if isAny(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID) {
					if missing++; missing >= missingTries {
						return UnknownTopicError{Topic: unansweredTopic(answer, partitions)}
					}
				}
				if err != nil {
					return fmt.Errorf("%s-%d: %w", t.Topic, p.Partition, err)
				}
				position := Position{Offset: record.Offset(p.Offset), LeaderEpoch: p.LeaderEpoch}
				if p.Metadata != nil {
					position.Note, _ = base64.StdEncoding.DecodeString(*p.Metadata) // another tool's note is none of ours
				}
				all[record.TopicPartition{Topic: record.Topic(t.Topic), Partition: record.Partition(p.Partition)}] = position
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the offsets of group %q: %w", s.session.Group, s.translate(err))
	}
	for _, tp := range partitions {
		if _, known := all[tp]; !known {
			all[tp] = Position{Offset: -1, LeaderEpoch: -1}
		}
	}
	return all, nil
}

// unansweredTopic is one that was asked for and has no good answer. A refused ID
// comes back without the topic's name.
func unansweredTopic(answer *kmsg.OffsetFetchResponse, partitions []record.TopicPartition) record.Topic {
	known := make(map[record.Topic]bool)
	for _, t := range answer.Topics {
		known[record.Topic(t.Topic)] = !slices.ContainsFunc(t.Partitions, func(p kmsg.OffsetFetchResponseTopicPartition) bool {
			return isAny(kerr.ErrorForCode(p.ErrorCode), kerr.UnknownTopicOrPartition, kerr.UnknownTopicID)
		})
	}
	for _, tp := range partitions {
		if !known[tp.Topic] {
			return tp.Topic
		}
	}
	return ""
}

// missingTries is how often brokers must say that a topic does not exist until
// it is believed, in the rhythm of retry: six seconds. One that has just started,
// or is far behind its controller, does not know all topics yet.
const missingTries = 14

func (s *Session) fetchOffsets(partitions []record.TopicPartition) *kmsg.OffsetFetchRequest {
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Group, r.RequireStable = s.session.Group, true
	for name, numbers := range byTopic(partitions) {
		topic := kmsg.NewOffsetFetchRequestTopic()
		topic.Topic, topic.Partitions = name, numbers
		r.Topics = append(r.Topics, topic)
	}
	return r
}

// retry calls f until it succeeds, fails for good, or ctx ends. What is worth
// waiting for: a coordinator that moves, a transaction that is being ended, a
// commit that is pending.
func (s *Session) retry(ctx context.Context, f func() error) error { return retry(ctx, f) }

func retry(ctx context.Context, f func() error) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := f()
		if err == nil || !kerr.IsRetriable(err) && !isAny(err, kerr.UnstableOffsetCommit, kerr.ConcurrentTransactions) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Rewind makes the next Poll go on at the given offsets. Partitions that this
// session does not have are passed over.
func (s *Session) Rewind(positions map[record.TopicPartition]Position) { s.fetcher.seek(positions) }

// translateTxn is translate with the refusals that only transactions know.
func translateTxn(err error, brokers []string) error {
	if isAny(err, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.UnknownProducerID) {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	return translate(err, brokers)
}
