package client

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Group is a consumer group with its members and what it has committed.
type Group struct {
	Name     string
	State    string // Stable, Empty, PreparingRebalance, CompletingRebalance, Dead
	Protocol string // the assignor that the members agreed on
	Members  []Member
	Offsets  []GroupOffset // by topic and partition
}

// Lag is the number of records that the group has not committed yet.
func (g Group) Lag() int64 {
	var sum int64
	for _, o := range g.Offsets {
		sum += o.Lag()
	}
	return sum
}

// Member is one running consumer of a group.
type Member struct {
	ID         string
	InstanceID string // of a static member
	ClientID   string
	Host       string
	Job        *Peer // what an instance of a Millrace job says of itself; nil for others
	Assigned   []record.TopicPartition
}

// GroupOffset is where a group stands in one partition.
type GroupOffset struct {
	record.TopicPartition
	Committed record.Offset // -1 when the group committed none
	Start     record.Offset // the log's first offset
	End       record.Offset // the log's high watermark
	Member    string        // client id of the member that reads it; empty if none
	Note      []byte        // what a job committed along with the offset, see Position
}

// Lag is the number of records behind Committed; without a commit, all of them.
func (o GroupOffset) Lag() int64 {
	return int64(max(0, o.End-max(o.Committed, o.Start)))
}

// Groups lists all consumer groups by name, with members and offsets.
func (a *Admin) Groups(ctx context.Context) ([]Group, error) {
	listed, err := a.client.ListGroups(ctx)
	if err != nil {
		return nil, a.wrap("list groups", err, "")
	}
	names := listed.Groups()
	if len(names) == 0 {
		return nil, nil
	}
	lags, err := a.client.Lag(ctx, names...)
	if err != nil {
		return nil, a.wrap("describe groups", err, "")
	}
	groups := make([]Group, 0, len(names))
	for _, l := range lags.Sorted() {
		if l.Error() == nil {
			groups = append(groups, groupOf(l))
		}
	}
	return groups, nil
}

// Group describes one consumer group; [UnknownGroupError] when it is not there.
func (a *Admin) Group(ctx context.Context, name string) (Group, error) {
	listed, err := a.client.ListGroups(ctx)
	if err != nil {
		return Group{}, a.wrap("list groups", err, "")
	}
	if _, known := listed[name]; !known {
		return Group{}, UnknownGroupError{Group: name, Nearest: Nearest(name, listed.Groups())}
	}
	lags, err := a.client.Lag(ctx, name)
	if err != nil {
		return Group{}, a.wrap("describe group", err, "")
	}
	l := lags[name]
	if err := l.Error(); err != nil {
		return Group{}, a.wrap("describe group "+name, err, "")
	}
	return groupOf(l), nil
}

func groupOf(l kadm.DescribedGroupLag) Group {
	g := Group{Name: l.Group, State: l.State, Protocol: l.Protocol}
	for _, m := range l.Members {
		g.Members = append(g.Members, memberOf(m))
	}
	for _, lag := range l.Lag.Sorted() {
		o := GroupOffset{
			TopicPartition: record.TopicPartition{Topic: record.Topic(lag.Topic), Partition: record.Partition(lag.Partition)},
			Committed:      record.Offset(lag.Commit.At),
			Start:          record.Offset(max(lag.Start.Offset, 0)),
			End:            record.Offset(max(lag.End.Offset, 0)),
		}
		if lag.Member != nil {
			o.Member = lag.Member.ClientID
		}
		o.Note, _ = base64.StdEncoding.DecodeString(lag.Commit.Metadata) // another tool's note is none of ours
		g.Offsets = append(g.Offsets, o)
	}
	return g
}

func memberOf(m kadm.DescribedGroupMember) Member {
	member := Member{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost}
	if m.InstanceID != nil {
		member.InstanceID = *m.InstanceID
	}
	if assigned, ok := m.Assigned.AsConsumer(); ok {
		for _, t := range assigned.Topics {
			for _, p := range t.Partitions {
				member.Assigned = append(member.Assigned,
					record.TopicPartition{Topic: record.Topic(t.Topic), Partition: record.Partition(p)})
			}
		}
	}
	slices.SortFunc(member.Assigned, compareTopicPartitions)
	if joined, ok := m.Join.AsConsumer(); ok {
		member.Job = peerOf(joined.UserData)
	}
	return member
}

func compareTopicPartitions(x, y record.TopicPartition) int {
	return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
}

// Move is a committed offset that is to change.
type Move struct {
	record.TopicPartition
	From record.Offset // committed now; -1 when none is
	To   record.Offset
}

// PlanReset computes the moves that would put the group at to in every
// partition of topics; with no topics, in those that it has committed. Nothing
// is changed: apply the plan with [Admin.ResetOffsets].
func (a *Admin) PlanReset(ctx context.Context, group string, topics []record.Topic, to Start) ([]Move, error) {
	committed, err := a.client.FetchOffsets(ctx, group)
	if err != nil && !isAny(err, kerr.GroupIDNotFound) {
		return nil, a.wrap("read committed offsets", err, "")
	}
	names := topicNames(topics)
	if len(names) == 0 {
		for topic := range committed {
			names = append(names, topic)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("group %q has committed no offsets: name the topics to reset", group)
	}
	targets, err := a.resolve(ctx, to, names)
	if err != nil {
		return nil, err
	}
	moves := make([]Move, 0, len(targets))
	for tp, offset := range targets {
		from := record.Offset(-1)
		if o, ok := committed.Lookup(string(tp.Topic), int32(tp.Partition)); ok {
			from = record.Offset(o.At)
		}
		moves = append(moves, Move{TopicPartition: tp, From: from, To: offset})
	}
	slices.SortFunc(moves, func(x, y Move) int { return compareTopicPartitions(x.TopicPartition, y.TopicPartition) })
	return moves, nil
}

func topicNames(topics []record.Topic) []string {
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = string(t)
	}
	return names
}

// Range is what a start position means in one partition: from From to End, which
// is not included.
type Range struct {
	Partition record.Partition
	From, End record.Offset
}

// Ranges are what reading topic from a start position means in each partition
// now, ascending.
func (a *Admin) Ranges(ctx context.Context, topic record.Topic, from Start) ([]Range, error) {
	partitions, err := a.Offsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	starts, err := a.resolve(ctx, from, []string{string(topic)})
	if err != nil {
		return nil, err
	}
	ranges := make([]Range, len(partitions))
	for i, p := range partitions {
		tp := record.TopicPartition{Topic: topic, Partition: p.Partition}
		ranges[i] = Range{Partition: p.Partition, From: starts[tp], End: p.End}
	}
	return ranges, nil
}

// resolve finds the offsets that to means in every partition of topics, kept
// within each log.
func (a *Admin) resolve(ctx context.Context, to Start, topics []string) (map[record.TopicPartition]record.Offset, error) {
	starts, err := a.client.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, a.wrap("list start offsets", err, "")
	}
	ends, err := a.client.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, a.wrap("list end offsets", err, "")
	}
	byTime := ends
	if to.kind == fromTime {
		if byTime, err = a.client.ListOffsetsAfterMilli(ctx, to.at.UnixMilli(), topics...); err != nil {
			return nil, a.wrap("list offsets by time", err, "")
		}
	}
	found := make(map[record.TopicPartition]record.Offset)
	var faults []error
	ends.Each(func(end kadm.ListedOffset) {
		if end.Err != nil {
			faults = append(faults, a.topicError(ctx, "list end offsets", record.Topic(end.Topic), end.Err, ""))
			return
		}
		first, last := listed(starts, end.Topic, end.Partition), record.Offset(end.Offset)
		tp := record.TopicPartition{Topic: record.Topic(end.Topic), Partition: record.Partition(end.Partition)}
		found[tp] = to.within(first, last, listed(byTime, end.Topic, end.Partition))
	})
	return found, errors.Join(faults...)
}

// within is the offset that s means in a log from first to last; atTime is the
// answer for a start by time.
func (s Start) within(first, last, atTime record.Offset) record.Offset {
	offset := first
	switch s.kind {
	case fromEnd:
		offset = last
	case fromOffset:
		offset = s.offset
	case fromLast:
		offset = last - s.offset
	case fromTime:
		offset = atTime
	}
	return min(max(offset, first), last)
}

// ResetOffsets commits the offsets of moves for group. [ErrGroupInUse] while it
// has running members, which would go on from where they are.
func (a *Admin) ResetOffsets(ctx context.Context, group string, moves []Move) error {
	g, err := a.client.DescribeGroups(ctx, group)
	if err != nil {
		return a.wrap("describe group", err, "")
	}
	if members := g[group].Members; len(members) > 0 {
		return fmt.Errorf("%w: %d of them", ErrGroupInUse, len(members))
	}
	offsets := make(kadm.Offsets)
	for _, m := range moves {
		offsets.AddOffset(string(m.Topic), int32(m.Partition), int64(m.To), -1)
	}
	return a.wrap("reset offsets of "+group, a.client.CommitAllOffsets(ctx, group, offsets), "")
}

// RemoveMembers takes members out of a group that are gone without having said
// so, as static members do for as long as their session lasts. One that runs
// joins again.
func (a *Admin) RemoveMembers(ctx context.Context, group string, members []Member) error {
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group = group
	for _, m := range members {
		leaving := kmsg.NewLeaveGroupRequestMember()
		if leaving.MemberID = m.ID; m.InstanceID != "" {
			leaving.MemberID, leaving.InstanceID = "", &m.InstanceID
		}
		request.Members = append(request.Members, leaving)
	}
	answer, err := request.RequestWith(ctx, a.raw)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		return a.wrap("remove members of group "+group, err, "")
	}
	for _, m := range answer.Members {
		if err := kerr.ErrorForCode(m.ErrorCode); err != nil && !isAny(err, kerr.UnknownMemberID) {
			return a.wrap("remove members of group "+group, err, "")
		}
	}
	return nil
}

// DeleteGroup removes a group and its offsets. [ErrGroupInUse] while it has
// running members.
func (a *Admin) DeleteGroup(ctx context.Context, group string) error {
	r, err := a.client.DeleteGroup(ctx, group)
	if err == nil {
		err = r.Err
	}
	if isAny(err, kerr.GroupIDNotFound) {
		return UnknownGroupError{Group: group}
	}
	return a.wrap("delete group "+group, err, "")
}
