package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/record"
)

// SessionConfig is what an instance of a job is in its consumer group and as a
// transactional producer.
type SessionConfig struct {
	// Group is the consumer group, the same for all instances.
	Group string
	// TransactionalID is this instance's alone, also over restarts: a second
	// session with the same id fences the first one.
	TransactionalID string
	// InstanceID makes the group member static; empty is a dynamic one.
	InstanceID string
	// Endpoint is an address that other instances learn with the assignment,
	// so that queries can be routed; may be empty.
	Endpoint string
	// Version is that of the program, for people who look at the group; may be empty.
	Version string
	// Groups are sets of topics whose partitions of equal number stay together
	// on one instance. Each topic is in exactly one.
	Groups [][]record.Topic
	// TransactionTimeout is how long the broker lets a transaction be open.
	// Default 10s, as Kafka Streams.
	TransactionTimeout time.Duration
	// SessionTimeout is how long a silent member stays in the group.
	// RebalanceTimeout is how long the group waits for a member to join again;
	// members do so by themselves, whatever their tasks do. Defaults 10s, and
	// the session timeout.
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration
	// FetchBytes bounds what is fetched ahead of Poll. Default 32 MiB.
	FetchBytes int32
}

func (s SessionConfig) withDefaults() SessionConfig {
	defaultTo(&s.TransactionTimeout, 10*time.Second)
	defaultTo(&s.SessionTimeout, 10*time.Second)
	defaultTo(&s.RebalanceTimeout, s.SessionTimeout)
	defaultTo(&s.FetchBytes, 32<<20)
	return s
}

// Session is one instance of a job: a member of a consumer group whose offsets
// are committed together with what it produces, in one transaction at a time.
//
// The order is Begin, any number of Poll and Send, then Commit or Abort. After
// anything but a successful Commit the outcome is not known yet: Settle ends
// what is open, Committed then says where each partition stands, and Rewind
// goes there. Those are for one goroutine; Events, Wake, Fence, Committed, Gone
// and Peers may come from others, as may [Lane.Send] of different senders.
type Session struct {
	group   *kgo.GroupTransactSession
	client  *kgo.Client
	config  Config
	session SessionConfig
	peers   *balancer
	dials   dials

	sending context.Context // of every record
	abandon context.CancelFunc

	joined    atomic.Pointer[kgo.Client] // client, for retain, which may be called before NewSession returns
	forgotten atomic.Bool                // by the group

	fetcher *fetcher
	columns []Columns     // reused between polls
	woken   chan struct{} // holds one: end the Poll that is under way, or the next one

	mu struct {
		sync.Mutex
		events []Event
		failed error // of a record of the open transaction
	}
}

// Event is a change of the partitions that a session reads.
type Event struct {
	Kind       EventKind
	Partitions []record.TopicPartition
}

// EventKind says what became of an event's partitions.
type EventKind int8

const (
	// Assigned partitions are paused until Resume.
	Assigned EventKind = iota
	// Revoked partitions go to another member; Lost ones may have gone already.
	// The open transaction cannot be committed any more.
	Revoked
	Lost
)

// NewSession joins the group and takes over the transactional id: what another
// session with this id had open is aborted or completed before the first poll
// returns anything. It returns before the group has answered.
func NewSession(c Config, s SessionConfig) (*Session, error) {
	c, s = c.withDefaults(), s.withDefaults()
	session := &Session{config: c, session: s, woken: make(chan struct{}, 1)}
	session.peers = newBalancer(s, session.retain)
	session.sending, session.abandon = context.WithCancel(context.Background())
	common, err := c.clientOptions()
	if err != nil {
		return nil, err
	}
	options, err := session.options()
	if err != nil {
		return nil, err
	}
	session.fetcher = newFetcher(c.FetchMaxWait, int(s.FetchBytes))
	session.group, err = kgo.NewGroupTransactSession(append(common, options...)...)
	if err != nil {
		return nil, fmt.Errorf("client settings: %w", err)
	}
	session.client = session.group.Client()
	session.joined.Store(session.client)
	session.fetcher.start(session.client)
	return session, nil
}

func (s *Session) options() ([]kgo.Opt, error) {
	compression, err := codec(s.config.Compression)
	if err != nil {
		return nil, err
	}
	var topics []string
	for _, group := range s.session.Groups {
		for _, topic := range group {
			topics = append(topics, string(topic))
		}
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(s.session.Group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(s.peers),
		kgo.SessionTimeout(s.session.SessionTimeout),
		kgo.HeartbeatInterval(s.session.SessionTimeout / 5),
		kgo.RebalanceTimeout(s.session.RebalanceTimeout),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // a lost position is reported, never guessed
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.WithHooks(&s.dials),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),

		kgo.TransactionalID(s.session.TransactionalID),
		kgo.TransactionTimeout(s.session.TransactionTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(s.config.Linger),
		kgo.ProducerBatchMaxBytes(int32(s.config.BatchBytes)),
		kgo.ProducerBatchCompression(compression),
		kgo.MaxBufferedRecords(maxBufferedInTxn),
		kgo.MaxBufferedBytes(s.config.BufferBytes),
	}
	if s.session.InstanceID != "" {
		options = append(options, kgo.InstanceID(s.session.InstanceID))
	}
	return options, nil
}

// maxBufferedInTxn bounds records on their way to the brokers. At the bound
// Send waits, as it does at Config.BufferBytes.
const maxBufferedInTxn = 200_000

// Close leaves the group, unless the member is static, and aborts nothing: an
// open transaction must be ended before, or the next session does it. A group
// that cannot be reached learns of it by silence.
func (s *Session) Close() {
	s.abandon()
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if s.session.InstanceID == "" {
		_ = s.client.LeaveGroupContext(ctx)
	}
	s.fetcher.close()
	s.client.CloseAllowingRebalance()
}

// Abandon fails all records that are not acknowledged yet, and with them the
// open transaction: a Send that waits for room returns. For when there is no
// more time to wait for the brokers. From any goroutine.
func (s *Session) Abandon() { s.abandon() }

// leaveTimeout bounds how long a clean stop waits for the group.
const leaveTimeout = time.Second

// Open takes over the transactional id and waits for the brokers to have ended
// what was open under it. Any error is final for this session.
func (s *Session) Open(ctx context.Context) error {
	if _, _, err := s.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("take over transactional id %q: %w", s.session.TransactionalID, s.translate(err))
	}
	return nil
}

// Begin opens a transaction; the brokers learn of it with its first record.
// Any error is final for this session.
func (s *Session) Begin() error {
	s.mu.Lock()
	s.mu.failed = nil
	s.mu.Unlock()
	if err := s.group.Begin(); err != nil {
		return fmt.Errorf("begin a transaction: %w", s.translate(err))
	}
	return nil
}

// Events are the changes since the last call, in order.
func (s *Session) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.mu.events
	s.mu.events = nil
	return events
}

// Wake ends a Poll that is under way, or else the next one.
func (s *Session) Wake() { signal(s.woken) }

// assigned takes partitions that franz-go must not read: the fetcher does.
func (s *Session) assigned(_ context.Context, client *kgo.Client, added map[string][]int32) {
	client.PauseFetchPartitions(added)
	s.dials.forget()
	s.event(Assigned, added)
}

func (s *Session) revoked(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.event(Revoked, gone)
}

func (s *Session) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.event(Lost, gone)
}

// retain drops partitions that are not among those which this member brings along
// when it joins again. franz-go is silent about some: until the transaction that
// the first loss has spoiled is ended, it reports no second one.
//
// A member that the group has forgotten joins anew with what it had before,
// although others may have had that meanwhile: such a session is of no more use.
func (s *Session) retain(owned map[string][]int32) {
	if joined := s.joined.Load(); joined != nil && len(owned) > 0 {
		if member, _ := joined.GroupMetadata(); member == "" {
			owned = nil
			s.forgotten.Store(true)
		}
	}
	s.happened(Event{Lost, s.fetcher.retain(partitionsOf(owned))})
}

func (s *Session) event(kind EventKind, changed map[string][]int32) {
	partitions := partitionsOf(changed)
	if kind == Assigned {
		s.fetcher.assign(partitions)
	} else {
		s.fetcher.revoke(partitions)
	}
	s.happened(Event{kind, partitions})
}

func (s *Session) happened(e Event) {
	if len(e.Partitions) == 0 {
		return
	}
	s.mu.Lock()
	s.mu.events = append(s.mu.events, e)
	s.mu.Unlock()
	s.Wake()
}

// partitionsOf is the opposite of byTopic, sorted.
func partitionsOf(topics map[string][]int32) []record.TopicPartition {
	var all []record.TopicPartition
	for topic, partitions := range topics {
		for _, p := range partitions {
			all = append(all, record.TopicPartition{Topic: record.Topic(topic), Partition: record.Partition(p)})
		}
	}
	slices.SortFunc(all, func(a, b record.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// Resume starts reading partitions that were assigned, from where Rewind said.
func (s *Session) Resume(partitions []record.TopicPartition) { s.fetcher.resume(partitions) }

// Pause stops reading partitions until Resume. What was fetched already is
// fetched again then.
func (s *Session) Pause(partitions []record.TopicPartition) { s.fetcher.pause(partitions) }

func byTopic(partitions []record.TopicPartition) map[string][]int32 {
	all := make(map[string][]int32)
	for _, tp := range partitions {
		all[string(tp.Topic)] = append(all[string(tp.Topic)], int32(tp.Partition))
	}
	return all
}

// Peers is what this instance knows of the group from its last assignment.
func (s *Session) Peers() []Peer { return s.peers.peers() }

// Gone are the transactional ids of instances that left the group since they
// were last known, and were not fenced yet.
func (s *Session) Gone() []string { return s.peers.takeGone() }

func (s *Session) translate(err error) error { return translateTxn(err, s.config.Brokers) }

// ErrFenced means that another session has taken over the transactional id, or
// that the brokers have timed the transaction out. This session is of no more
// use; whether its last transaction was committed, Committed of the next one tells.
var ErrFenced = errors.New("the transactional id was taken over")
