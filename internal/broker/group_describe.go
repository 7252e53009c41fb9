package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
)

var groupOperations = []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDelete, kmsg.ACLOperationDescribe}

// describeGroups shows groups with their members. One that does not exist is
// Dead, without an error, as in Kafka up to version 5.
func (g *groups) describeGroups(_ *conn, req *kmsg.DescribeGroupsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
		for _, id := range req.Groups {
			d := g.describe(id)
			d.AuthorizedOperations = notAsked
			if req.IncludeAuthorizedOperations {
				d.AuthorizedOperations = allOperations(groupOperations)
			}
			resp.Groups = append(resp.Groups, d)
		}
		return resp
	})
}

func (g *groups) describe(id string) kmsg.DescribeGroupsResponseGroup {
	shown := kmsg.NewDescribeGroupsResponseGroup()
	shown.Group, shown.State = id, group.Dead.String()
	lg := g.lockGroup(id)
	if lg == nil {
		return shown
	}
	d := lg.mu.group.Describe()
	lg.unlock()
	shown.State, shown.ProtocolType, shown.Protocol = d.State.String(), d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.InstanceID = m.ID, orNull(m.InstanceID)
		member.ClientID, member.ClientHost = m.ClientID, m.ClientHost
		member.ProtocolMetadata, member.MemberAssignment = m.Metadata, m.Assignment
		shown.Members = append(shown.Members, member)
	}
	return shown
}
