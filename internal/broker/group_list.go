package broker

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// classicGroup is the type of all our groups, in Kafka's words.
const classicGroup = "classic"

// listGroups shows all groups, or those in the states and of the types that the
// client names.
func (g *groups) listGroups(_ *conn, req *kmsg.ListGroupsRequest) reply {
	return func(ctx context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
		g.each(ctx, func(lg *liveGroup) {
			state := lg.mu.group.State().String()
			if len(req.StatesFilter) > 0 && !containsFold(req.StatesFilter, state) {
				return
			}
			if len(req.TypesFilter) > 0 && !containsFold(req.TypesFilter, classicGroup) {
				return
			}
			one := kmsg.NewListGroupsResponseGroup()
			one.Group, one.ProtocolType, one.GroupState = lg.id, lg.mu.group.ProtocolType(), state
			one.GroupType = classicGroup
			resp.Groups = append(resp.Groups, one)
		})
		return resp, ctx.Err()
	}
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
