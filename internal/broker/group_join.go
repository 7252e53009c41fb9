package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
)

// Versions from which on JoinGroup means something else.
const (
	joinRequiresMemberID = 4
	joinSkipsAssignment  = 9
)

// joinGroup hands the request to its group. The reply waits until the join phase
// of the group ends, which other members decide.
func (g *groups) joinGroup(c *conn, req *request) reply {
	ask := req.Body.(*kmsg.JoinGroupRequest)
	resp := ask.ResponseKind().(*kmsg.JoinGroupResponse)
	answered, err := g.join(c, ask, req.ClientID)
	if err != nil {
		fillJoin(resp, group.JoinAnswer{Err: err, MemberID: ask.MemberID, Generation: -1})
		return answer(resp)
	}
	return func(ctx context.Context) (response, error) {
		a, err := g.awaitAnswer(ctx, answered)
		if err != nil {
			a.join = group.JoinAnswer{Err: err, MemberID: ask.MemberID, Generation: -1}
		}
		fillJoin(resp, a.join)
		return resp, nil
	}
}

// join gives the request to its group; the answer comes on the channel.
func (g *groups) join(c *conn, ask *kmsg.JoinGroupRequest, clientID string) (<-chan groupAnswer, error) {
	if err := checkJoin(ask); err != nil {
		return nil, err
	}
	s, err := g.ensureShard(ask.Group)
	if err != nil {
		return nil, err
	}
	lg := s.lockGroup(ask.Group, ask.MemberID == "")
	if lg == nil {
		return nil, group.ErrUnknownMember // an id of a group that does not exist
	}
	defer lg.unlock()
	r := joinRequest(ask, c.clientHost(), clientID)
	if growth := lg.mu.group.Growth(r); growth > 0 && !g.hasRoom(growth) {
		g.b.complaints.warn("a member of a consumer group is refused because all groups together use the memory for groups", "group", ask.Group)
		return nil, group.ErrGroupFull
	}
	token, answered := lg.park()
	r.Token = token
	lg.carryOut(lg.mu.group.Join(time.Now(), r))
	return answered, nil
}

func checkJoin(ask *kmsg.JoinGroupRequest) error {
	if ask.Group == "" {
		return errNoGroupID
	}
	if id := ask.InstanceID; id != nil && (*id == "" || len(*id) > maxInstanceID) {
		return refused(kerr.InvalidRequest, fmt.Sprintf("group.instance.id must have 1 to %d characters", maxInstanceID))
	}
	return nil
}

// maxInstanceID is Kafka's bound, that of a topic name.
const maxInstanceID = 249

var errNoGroupID = refused(kerr.InvalidGroupID, "the group id is empty")

// joinRequest is the request in the group's words. The group keeps the bytes;
// they are not the frame's (wire.Decode).
func joinRequest(ask *kmsg.JoinGroupRequest, clientHost, clientID string) group.JoinRequest {
	r := group.JoinRequest{
		MemberID:          ask.MemberID,
		InstanceID:        orEmpty(ask.InstanceID),
		ClientID:          clientID,
		ClientHost:        clientHost,
		SessionTimeout:    milliseconds(ask.SessionTimeoutMillis),
		ProtocolType:      ask.ProtocolType,
		Reason:            orEmpty(ask.Reason),
		RequireMemberID:   ask.Version >= joinRequiresMemberID,
		CanSkipAssignment: ask.Version >= joinSkipsAssignment,
	}
	if ask.Version >= 1 {
		r.RebalanceTimeout = milliseconds(ask.RebalanceTimeoutMillis)
	}
	r.NewMemberID = newMemberID(r)
	for _, p := range ask.Protocols {
		r.Protocols = append(r.Protocols, group.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	return r
}

// newMemberID is, as in Kafka, a UUID behind what people know the member by.
func newMemberID(r group.JoinRequest) string {
	name := r.ClientID
	if r.InstanceID != "" {
		name = r.InstanceID
	}
	id := newTopicID() // a random UUID like any other
	return fmt.Sprintf("%s-%x-%x-%x-%x-%x", name, id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// awaitAnswer waits for what the group says, then for its records to be durable.
func (g *groups) awaitAnswer(ctx context.Context, answered <-chan groupAnswer) (groupAnswer, error) {
	select {
	case a := <-answered:
		return a, a.written.wait(g.b)
	case <-ctx.Done():
		// The broker stops, or nobody listens any more.
		return groupAnswer{}, refused(kerr.CoordinatorNotAvailable, "the broker stops")
	}
}

func fillJoin(resp *kmsg.JoinGroupResponse, a group.JoinAnswer) {
	resp.ErrorCode = groupCodeOf(a.Err)
	resp.MemberID, resp.Generation = a.MemberID, a.Generation
	resp.LeaderID, resp.SkipAssignment = a.Leader, a.SkipAssignment
	if a.Err == nil {
		resp.ProtocolType, resp.Protocol = &a.ProtocolType, &a.Protocol
	}
	for _, m := range a.Members {
		member := kmsg.NewJoinGroupResponseMember()
		member.MemberID, member.InstanceID, member.ProtocolMetadata = m.ID, orNull(m.InstanceID), m.Metadata
		resp.Members = append(resp.Members, member)
	}
}
