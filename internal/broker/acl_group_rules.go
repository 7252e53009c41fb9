package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
	"millrace/internal/group"
)

var groupDenied = kerr.GroupAuthorizationFailed.Code

// groupRules are those of requests about consumer groups and their offsets.
func groupRules() map[kmsg.Key]rule {
	return map[kmsg.Key]rule{
		kmsg.FindCoordinator: ruled(mayFindCoordinator),
		kmsg.JoinGroup:       ruled(mayJoinGroup),
		kmsg.SyncGroup:       ruled(maySyncGroup),
		kmsg.Heartbeat:       ruled(mayHeartbeat),
		kmsg.LeaveGroup:      ruled(mayLeaveGroup),
		kmsg.OffsetCommit:    ruled(mayOffsetCommit),
		kmsg.OffsetFetch:     ruled(mayOffsetFetch),
		kmsg.OffsetDelete:    ruled(mayOffsetDelete),
		kmsg.DescribeGroups:  ruled(mayDescribeGroups),
		kmsg.ListGroups:      ruled(mayListGroups),
		kmsg.DeleteGroups:    ruled(mayDeleteGroups),
	}
}

func (c *conn) mayGroup(o auth.Operation, id string) bool { return c.may(o, auth.Group, id) }

func mayFindCoordinator(c *conn, req *kmsg.FindCoordinatorRequest, v *verdict) {
	kind, code := auth.Group, groupDenied
	if req.CoordinatorType != groupCoordinator {
		kind, code = auth.TransactionalID, transactionDenied
	}
	allowed := func(key string) bool { return c.may(auth.Describe, kind, key) }
	if req.Version < coordinatorsByList {
		if !allowed(req.CoordinatorKey) {
			resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
			resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Port = code, textOf(errTopicDenied), -1, -1
			v.instead = resp
		}
		return
	}
	var denied []string
	req.CoordinatorKeys, denied = part(req.CoordinatorKeys, allowed)
	amend(v, func(resp *kmsg.FindCoordinatorResponse) {
		for _, key := range denied {
			one := kmsg.NewFindCoordinatorResponseCoordinator()
			one.Key, one.NodeID, one.Port, one.ErrorCode, one.ErrorMessage = key, -1, -1, code, textOf(errTopicDenied)
			resp.Coordinators = append(resp.Coordinators, one)
		}
	})
}

func mayJoinGroup(c *conn, req *kmsg.JoinGroupRequest, v *verdict) {
	if !c.mayGroup(auth.Read, req.Group) {
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		fillJoin(resp, group.JoinAnswer{Generation: -1})
		resp.ErrorCode = groupDenied
		v.instead = resp
	}
}

func maySyncGroup(c *conn, req *kmsg.SyncGroupRequest, v *verdict) {
	if !c.mayGroup(auth.Read, req.Group) {
		resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
		resp.ErrorCode = groupDenied
		v.instead = resp
	}
}

func mayHeartbeat(c *conn, req *kmsg.HeartbeatRequest, v *verdict) {
	if !c.mayGroup(auth.Read, req.Group) {
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = groupDenied
		v.instead = resp
	}
}

func mayLeaveGroup(c *conn, req *kmsg.LeaveGroupRequest, v *verdict) {
	if !c.mayGroup(auth.Read, req.Group) {
		resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
		resp.ErrorCode = groupDenied
		v.instead = resp
	}
}

// mayOffsetCommit asks for the group as a whole and for each topic.
func mayOffsetCommit(c *conn, req *kmsg.OffsetCommitRequest, v *verdict) {
	if !c.mayGroup(auth.Read, req.Group) {
		resp := offsetCommitResponse(req)
		failCommit(resp, groupDenied)
		v.instead = resp
		return
	}
	kept, denied := part(req.Topics, func(t kmsg.OffsetCommitRequestTopic) bool {
		return c.mayTopicOf(auth.Read, t.Topic, t.TopicID)
	})
	req.Topics = denied
	refusals := offsetCommitResponse(req)
	failCommit(refusals, topicDenied)
	req.Topics = kept
	amend(v, func(resp *kmsg.OffsetCommitResponse) { resp.Topics = append(resp.Topics, refusals.Topics...) })
}

// mayTopicOf is mayTopic for a topic that is named by name or by ID. What does
// not exist is left to the handler.
func (c *conn) mayTopicOf(o auth.Operation, name string, id topicID) bool {
	if id == (topicID{}) {
		return c.mayTopic(o, name)
	}
	t := c.b.catalog.topics.identified(id)
	return t == nil || c.mayTopic(o, string(t.name))
}

func mayOffsetFetch(c *conn, req *kmsg.OffsetFetchRequest, v *verdict) {
	if req.Version < fetchesByGroup {
		mayOffsetFetchOne(c, req, v)
		return
	}
	var refusals []kmsg.OffsetFetchResponseGroup
	groups := make([]kmsg.OffsetFetchRequestGroup, 0, len(req.Groups))
	hidden := map[string][]kmsg.OffsetFetchResponseGroupTopic{}
	for _, asked := range req.Groups {
		if !c.mayGroup(auth.Describe, asked.Group) {
			refusal := kmsg.NewOffsetFetchResponseGroup()
			refusal.Group, refusal.ErrorCode = asked.Group, groupDenied
			refusals = append(refusals, refusal)
			continue
		}
		asked.Topics, hidden[asked.Group] = c.fetchableTopics(asked.Topics)
		groups = append(groups, asked)
	}
	req.Groups = groups
	amend(v, func(resp *kmsg.OffsetFetchResponse) {
		for i := range resp.Groups {
			g := &resp.Groups[i]
			g.Topics, _ = part(g.Topics, func(t kmsg.OffsetFetchResponseGroupTopic) bool {
				return c.mayTopicOf(auth.Describe, t.Topic, t.TopicID)
			})
			g.Topics = append(g.Topics, hidden[g.Group]...)
		}
		resp.Groups = append(resp.Groups, refusals...)
	})
}

// fetchableTopics splits what is asked for; null, which asks for all, stays.
func (c *conn) fetchableTopics(asked []kmsg.OffsetFetchRequestGroupTopic) ([]kmsg.OffsetFetchRequestGroupTopic, []kmsg.OffsetFetchResponseGroupTopic) {
	if asked == nil {
		return nil, nil
	}
	kept, denied := part(asked, func(t kmsg.OffsetFetchRequestGroupTopic) bool { return c.mayTopicOf(auth.Describe, t.Topic, t.TopicID) })
	var refusals []kmsg.OffsetFetchResponseGroupTopic
	for _, t := range denied {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := fetchedPartition(p)
			rp.ErrorCode = topicDenied
			rt.Partitions = append(rt.Partitions, rp)
		}
		refusals = append(refusals, rt)
	}
	return kept, refusals
}

// mayOffsetFetchOne is mayOffsetFetch for the versions that ask about one group.
func mayOffsetFetchOne(c *conn, req *kmsg.OffsetFetchRequest, v *verdict) {
	asked := groupsAsked(req)[0]
	if !c.mayGroup(auth.Describe, req.Group) {
		f := kmsg.NewOffsetFetchResponseGroup()
		f.ErrorCode = groupDenied
		if req.Version >= fetchHasTopLevelError {
			asked.Topics = nil // version 1 has a place for errors there only
		}
		for _, t := range asked.Topics {
			rt := kmsg.NewOffsetFetchResponseGroupTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := fetchedPartition(p)
				rp.ErrorCode = groupDenied
				rt.Partitions = append(rt.Partitions, rp)
			}
			f.Topics = append(f.Topics, rt)
		}
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		fillSingleFetch(resp, f)
		v.instead = resp
		return
	}
	_, refused := c.fetchableTopics(asked.Topics)
	if req.Topics != nil {
		req.Topics, _ = part(req.Topics, func(t kmsg.OffsetFetchRequestTopic) bool { return c.mayTopic(auth.Describe, t.Topic) })
	}
	amend(v, func(resp *kmsg.OffsetFetchResponse) {
		resp.Topics, _ = part(resp.Topics, func(t kmsg.OffsetFetchResponseTopic) bool { return c.mayTopic(auth.Describe, t.Topic) })
		code := resp.ErrorCode
		f := kmsg.NewOffsetFetchResponseGroup()
		f.ErrorCode, f.Topics = code, refused
		fillSingleFetch(resp, f)
	})
}

func mayOffsetDelete(c *conn, req *kmsg.OffsetDeleteRequest, v *verdict) {
	if !c.mayGroup(auth.Delete, req.Group) {
		resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
		resp.ErrorCode = groupDenied
		v.instead = resp
		return
	}
	var denied []kmsg.OffsetDeleteRequestTopic
	req.Topics, denied = part(req.Topics, func(t kmsg.OffsetDeleteRequestTopic) bool { return c.mayTopic(auth.Read, t.Topic) })
	amend(v, func(resp *kmsg.OffsetDeleteResponse) {
		for _, t := range denied {
			rt := kmsg.NewOffsetDeleteResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetDeleteResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, topicDenied
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	})
}

func mayDescribeGroups(c *conn, req *kmsg.DescribeGroupsRequest, v *verdict) {
	var denied []string
	req.Groups, denied = part(req.Groups, func(id string) bool { return c.mayGroup(auth.Describe, id) })
	amend(v, func(resp *kmsg.DescribeGroupsResponse) {
		for i := range resp.Groups {
			if req.IncludeAuthorizedOperations {
				resp.Groups[i].AuthorizedOperations = c.operations(groupOperations, auth.Group, resp.Groups[i].Group)
			}
		}
		for _, id := range denied {
			g := kmsg.NewDescribeGroupsResponseGroup()
			g.Group, g.ErrorCode, g.AuthorizedOperations = id, groupDenied, notAsked
			resp.Groups = append(resp.Groups, g)
		}
	})
}

// mayListGroups shows all groups to who may describe the cluster.
func mayListGroups(c *conn, _ *kmsg.ListGroupsRequest, v *verdict) {
	if c.mayCluster(auth.Describe) {
		return
	}
	amend(v, func(resp *kmsg.ListGroupsResponse) {
		resp.Groups, _ = part(resp.Groups, func(g kmsg.ListGroupsResponseGroup) bool { return c.mayGroup(auth.Describe, g.Group) })
	})
}

func mayDeleteGroups(c *conn, req *kmsg.DeleteGroupsRequest, v *verdict) {
	var denied []string
	req.Groups, denied = part(req.Groups, func(id string) bool { return c.mayGroup(auth.Delete, id) })
	amend(v, func(resp *kmsg.DeleteGroupsResponse) {
		for _, id := range denied {
			r := kmsg.NewDeleteGroupsResponseGroup()
			r.Group, r.ErrorCode = id, groupDenied
			resp.Groups = append(resp.Groups, r)
		}
	})
}
