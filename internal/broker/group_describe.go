package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
)

var groupOperations = []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDelete, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs}

// describeKnowsNoGroup is the first DescribeGroups version that calls a group
// that does not exist by that name; before, it is just Dead.
const describeKnowsNoGroup = 6

// describeGroups shows groups with their members.
func (g *groups) describeGroups(_ *conn, req *kmsg.DescribeGroupsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
		for _, id := range req.Groups {
			d := g.describe(id)
			if d.State == group.Dead.String() && req.Version >= describeKnowsNoGroup {
				d.ErrorCode, d.ErrorMessage = groupCodeOf(errNoSuchGroup), kmsg.StringPtr("Group "+id+" not found.")
			}
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
