package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
	"millrace/internal/wire"
)

// rule holds one kind of request against the ACLs, before its handler sees it:
// it takes out of the request what the client may not do, and notes how the
// answer says so. Handlers know nothing of ACLs, except those of Produce and
// Fetch, whose requests are not rewritten. The rules are Kafka's.
type rule func(c *conn, req *request, v *verdict)

// verdict is what a rule found.
type verdict struct {
	instead response         // the whole answer; the handler is not asked
	amends  []func(response) // what is added to, or taken out of, the handler's answer
}

// ruled makes a rule of a function over the request's own type.
func ruled[R kmsg.Request](check func(c *conn, req R, v *verdict)) rule {
	return func(c *conn, req *request, v *verdict) { check(c, req.Body.(R), v) }
}

// amend changes the handler's answer.
func amend[S response](v *verdict, change func(S)) {
	v.amends = append(v.amends, func(resp response) {
		if accounted, ok := resp.(*accountedAnswer); ok {
			resp = accounted.Response
		}
		if s, ok := resp.(S); ok {
			change(s)
		}
	})
}

// guarded is the handler behind its rule, for clients that ACLs bind. A kind of
// request without a rule is refused: what nobody has thought about is forbidden.
func (c *conn) guarded(handle handler, req *request) reply {
	if c.login != nil || c.who.free {
		return handle(c, req)
	}
	check := c.b.rules[req.Key]
	if check == nil {
		c.end = fmt.Errorf("broker: %s has no rule, so only super users may ask it", wire.Name(req.Key))
		return nil
	}
	var v verdict
	check(c, req, &v)
	if v.instead != nil {
		return answer(v.instead)
	}
	r := handle(c, req)
	if r == nil || len(v.amends) == 0 {
		return r
	}
	return func(ctx context.Context) (response, error) {
		resp, err := r(ctx)
		if err == nil {
			for _, change := range v.amends {
				change(resp)
			}
		}
		return resp, err
	}
}

// part splits items into those that are allowed and the others. Neither is nil:
// in many requests null means all.
func part[T any](items []T, allowed func(T) bool) (kept, denied []T) {
	kept, denied = make([]T, 0, len(items)), make([]T, 0)
	for _, item := range items {
		if allowed(item) {
			kept = append(kept, item)
		} else {
			denied = append(denied, item)
		}
	}
	return kept, denied
}

// rules are the rules of all kinds of requests that are served or will be.
func rules() map[kmsg.Key]rule {
	all := map[kmsg.Key]rule{
		kmsg.ApiVersions:      everybody,
		kmsg.SASLHandshake:    everybody,
		kmsg.SASLAuthenticate: everybody,
		kmsg.Produce:          everybody, // its handler asks, topic by topic
		kmsg.Fetch:            everybody, // its handler asks, topic by topic
		kmsg.DescribeCluster:  ruled(mayDescribeCluster),

		kmsg.DescribeACLs:                 ruled(mayDescribeACLs),
		kmsg.CreateACLs:                   ruled(mayCreateACLs),
		kmsg.DeleteACLs:                   ruled(mayDeleteACLs),
		kmsg.DescribeClientQuotas:         ruled(mayDescribeQuotas),
		kmsg.DescribeUserSCRAMCredentials: ruled(mayDescribeUsers),
		kmsg.AlterUserSCRAMCredentials:    ruled(mayAlterUsers),
	}
	for _, more := range []map[kmsg.Key]rule{topicRules(), configRules(), groupRules(), transactionRules()} {
		for key, r := range more {
			all[key] = r
		}
	}
	return all
}

func everybody(*conn, *request, *verdict) {}

// mayDescribeCluster lets everybody see the nodes: every client needs them.
func mayDescribeCluster(c *conn, req *kmsg.DescribeClusterRequest, v *verdict) {
	if req.IncludeClusterAuthorizedOperations {
		amend(v, func(resp *kmsg.DescribeClusterResponse) {
			resp.ClusterAuthorizedOperations = c.clusterOperations()
		})
	}
}

// operations is the bit field of those operations that the client may do.
func (c *conn) operations(all []kmsg.ACLOperation, kind auth.ResourceType, name string) int32 {
	allowed, _ := part(all, func(o kmsg.ACLOperation) bool { return c.may(auth.Operation(o), kind, name) })
	return allOperations(allowed)
}

// clusterOperations is operations for the cluster: none, for who may not describe it.
func (c *conn) clusterOperations() int32 {
	if !c.mayCluster(auth.Describe) {
		return 0
	}
	return c.operations(clusterOperations, auth.Cluster, auth.ClusterName)
}

func clusterDenied() (code int16, text *string) {
	return kerr.ClusterAuthorizationFailed.Code, textOf(errTopicDenied)
}

func mayDescribeACLs(c *conn, req *kmsg.DescribeACLsRequest, v *verdict) {
	if !c.mayCluster(auth.Describe) {
		resp := req.ResponseKind().(*kmsg.DescribeACLsResponse)
		resp.ErrorCode, resp.ErrorMessage = clusterDenied()
		v.instead = resp
	}
}

func mayCreateACLs(c *conn, req *kmsg.CreateACLsRequest, v *verdict) {
	if c.mayCluster(auth.Alter) {
		return
	}
	resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
	for range req.Creations {
		r := kmsg.NewCreateACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = clusterDenied()
		resp.Results = append(resp.Results, r)
	}
	v.instead = resp
}

func mayDeleteACLs(c *conn, req *kmsg.DeleteACLsRequest, v *verdict) {
	if c.mayCluster(auth.Alter) {
		return
	}
	resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
	for range req.Filters {
		r := kmsg.NewDeleteACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = clusterDenied()
		resp.Results = append(resp.Results, r)
	}
	v.instead = resp
}

func mayDescribeUsers(c *conn, req *kmsg.DescribeUserSCRAMCredentialsRequest, v *verdict) {
	if !c.mayCluster(auth.Describe) {
		resp := req.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
		resp.ErrorCode, resp.ErrorMessage = clusterDenied()
		for _, u := range req.Users {
			r := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
			r.User = u.Name
			r.ErrorCode, r.ErrorMessage = clusterDenied()
			resp.Results = append(resp.Results, r)
		}
		v.instead = resp
	}
}

func mayDescribeQuotas(c *conn, req *kmsg.DescribeClientQuotasRequest, v *verdict) {
	if !c.mayCluster(auth.DescribeConfigs) {
		resp := req.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
		resp.ErrorCode, resp.ErrorMessage = clusterDenied()
		v.instead = resp
	}
}

func mayAlterUsers(c *conn, req *kmsg.AlterUserSCRAMCredentialsRequest, v *verdict) {
	if c.mayCluster(auth.Alter) {
		return
	}
	resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	for _, name := range usersNamed(req) {
		r := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		r.User = name
		r.ErrorCode, r.ErrorMessage = clusterDenied()
		resp.Results = append(resp.Results, r)
	}
	v.instead = resp
}
