package client

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Peer is an instance of the group, this one included.
type Peer struct {
	TransactionalID string                              `json:"id"`
	Endpoint        string                              `json:"endpoint,omitempty"`
	Version         string                              `json:"version,omitempty"` // of the program
	Partitions      map[record.Topic][]record.Partition `json:"partitions,omitempty"`
}

// balancer is the group's protocol. Beside who reads what it carries who the
// members are, as consumers do not: their transactional ids, so that those who
// are gone can be fenced, and their endpoints, so that queries can be routed.
type balancer struct {
	session SessionConfig
	owned   func(map[string][]int32) // told at each join what this member brings along

	mu    sync.Mutex
	known []Peer   // of the last assignment
	gone  []string // transactional ids to be fenced
}

func newBalancer(s SessionConfig, owned func(map[string][]int32)) *balancer {
	return &balancer{session: s, owned: owned}
}

// memberNote is what a member says of itself when it joins; groupNote is what
// the leader tells each member with its assignment.
type memberNote struct {
	Self  Peer     `json:"self"`
	Known []string `json:"known,omitempty"` // transactional ids of the last assignment
}

type groupNote struct {
	Members []Peer   `json:"members"`
	Gone    []string `json:"gone,omitempty"`
}

// peerOf reads the note of a member of any group: nil when it is none of ours.
func peerOf(userData []byte) *Peer {
	var note memberNote
	if err := json.Unmarshal(userData, &note); err != nil || note.Self.TransactionalID == "" {
		return nil
	}
	return &note.Self
}

// JobProtocol is the name of the protocol by which the instances of a job share
// its partitions: the mark of a job among the groups of a cluster.
const JobProtocol = "millrace-1"

// ProtocolName and IsCooperative are of kgo.GroupBalancer, as the next three.
func (b *balancer) ProtocolName() string { return JobProtocol }
func (b *balancer) IsCooperative() bool  { return true }

func (b *balancer) JoinGroupMetadata(topics []string, current map[string][]int32, generation int32) []byte {
	b.owned(current)
	b.mu.Lock()
	note := memberNote{Self: Peer{TransactionalID: b.session.TransactionalID, Endpoint: b.session.Endpoint, Version: b.session.Version}}
	for _, p := range b.known {
		note.Known = append(note.Known, p.TransactionalID)
	}
	b.mu.Unlock()
	slices.Sort(note.Known)

	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Generation, m.Topics = 2, generation, topics
	m.UserData, _ = json.Marshal(note) // strings cannot fail
	for _, topic := range slices.Sorted(maps.Keys(current)) {
		owned := kmsg.NewConsumerMemberMetadataOwnedPartition()
		owned.Topic, owned.Partitions = topic, current[topic]
		m.OwnedPartitions = append(m.OwnedPartitions, owned)
	}
	return m.AppendTo(nil)
}

func (b *balancer) ParseSyncAssignment(assigned []byte) (map[string][]int32, error) {
	a := kmsg.NewConsumerMemberAssignment()
	if len(assigned) > 0 {
		if err := a.ReadFrom(assigned); err != nil {
			return nil, fmt.Errorf("read the group's assignment: %w", err)
		}
	}
	var note groupNote
	if len(a.UserData) > 0 {
		if err := json.Unmarshal(a.UserData, &note); err != nil {
			return nil, fmt.Errorf("read the group's assignment: %w", err)
		}
	}
	b.mu.Lock()
	b.known = note.Members
	for _, id := range note.Gone {
		if id != b.session.TransactionalID && !slices.Contains(b.gone, id) {
			b.gone = append(b.gone, id)
		}
	}
	b.mu.Unlock()
	partitions := make(map[string][]int32, len(a.Topics))
	for _, t := range a.Topics {
		partitions[t.Topic] = t.Partitions
	}
	return partitions, nil
}

func (b *balancer) peers() []Peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.known)
}

func (b *balancer) takeGone() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	gone := b.gone
	b.gone = nil
	return gone
}

func (b *balancer) MemberBalancer(joined []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	round := &balancing{groups: b.session.Groups}
	topics := make(map[string]struct{})
	for _, j := range joined {
		m := kmsg.NewConsumerMemberMetadata()
		if err := m.ReadFrom(j.ProtocolMetadata); err != nil {
			return nil, nil, fmt.Errorf("member %s: %w", j.MemberID, err)
		}
		var note memberNote
		if err := json.Unmarshal(m.UserData, &note); err != nil {
			return nil, nil, fmt.Errorf("member %s: %w", j.MemberID, err)
		}
		for _, topic := range m.Topics {
			topics[topic] = struct{}{}
		}
		round.add(j.MemberID, note, &m)
	}
	return round, topics, nil
}

// balancing is one round of assignment, at the leader.
type balancing struct {
	groups  [][]record.Topic
	members []candidate
	notes   map[string]memberNote // by member id
}

func (r *balancing) add(id string, note memberNote, m *kmsg.ConsumerMemberMetadata) {
	c := candidate{id: id, generation: m.Generation}
	for _, owned := range m.OwnedPartitions {
		group := r.groupOf(record.Topic(owned.Topic))
		for _, p := range owned.Partitions {
			if u := (unit{group, record.Partition(p)}); group >= 0 && !slices.Contains(c.owned, u) {
				c.owned = append(c.owned, u)
			}
		}
	}
	if r.notes == nil {
		r.notes = make(map[string]memberNote)
	}
	r.members, r.notes[id] = append(r.members, c), note
}

func (r *balancing) groupOf(topic record.Topic) int {
	return slices.IndexFunc(r.groups, func(topics []record.Topic) bool { return slices.Contains(topics, topic) })
}

// Balance is of kgo.GroupMemberBalancer.
func (r *balancing) Balance(counts map[string]int32) kgo.IntoSyncAssignment {
	partitions := make([]int32, len(r.groups))
	for i, topics := range r.groups {
		for _, topic := range topics {
			partitions[i] = max(partitions[i], counts[string(topic)])
		}
	}
	plan := assign(r.members, partitions)
	handOver(plan, r.members)
	return r.tell(plan, counts)
}

// tell turns a plan into what each member is told.
func (r *balancing) tell(plan map[string][]unit, counts map[string]int32) told {
	var note groupNote
	all := make(map[string]Peer, len(r.members))
	for _, m := range r.members {
		peer := r.notes[m.id].Self
		peer.Partitions = make(map[record.Topic][]record.Partition)
		for _, u := range plan[m.id] {
			for _, topic := range r.groups[u.group] {
				if int32(u.partition) < counts[string(topic)] {
					peer.Partitions[topic] = append(peer.Partitions[topic], u.partition)
				}
			}
		}
		all[m.id] = peer
		note.Members = append(note.Members, peer)
	}
	note.Gone = r.gone()
	userData, _ := json.Marshal(note) // strings and numbers cannot fail
	var t told
	for _, m := range r.members {
		a := kmsg.NewConsumerMemberAssignment()
		a.UserData = userData
		for _, topic := range slices.Sorted(maps.Keys(all[m.id].Partitions)) {
			given := kmsg.NewConsumerMemberAssignmentTopic()
			given.Topic = string(topic)
			for _, p := range all[m.id].Partitions[topic] {
				given.Partitions = append(given.Partitions, int32(p))
			}
			slices.Sort(given.Partitions)
			a.Topics = append(a.Topics, given)
		}
		out := kmsg.NewSyncGroupRequestGroupAssignment()
		out.MemberID, out.MemberAssignment = m.id, a.AppendTo(nil)
		t = append(t, out)
	}
	return t
}

// gone are the transactional ids that some member knew and none has now.
func (r *balancing) gone() []string {
	gone := make(map[string]bool)
	for _, note := range r.notes {
		for _, id := range note.Known {
			gone[id] = true
		}
	}
	for _, note := range r.notes {
		delete(gone, note.Self.TransactionalID)
	}
	return slices.Sorted(maps.Keys(gone))
}

// told satisfies kgo.IntoSyncAssignment.
type told []kmsg.SyncGroupRequestGroupAssignment

func (t told) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment { return t }
