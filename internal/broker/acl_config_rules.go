package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
)

// configRules are those of requests about settings and the node.
func configRules() map[kmsg.Key]rule {
	return map[kmsg.Key]rule{
		kmsg.DescribeConfigs:         ruled(mayDescribeConfigs),
		kmsg.AlterConfigs:            ruled(mayAlterConfigs),
		kmsg.IncrementalAlterConfigs: ruled(mayIncrementalAlterConfigs),
		kmsg.DescribeLogDirs:         ruled(mayDescribeLogDirs),
	}
}

// mayConfig reports whether the client may do that to a resource's settings:
// those of a topic are asked of the topic, all others of the cluster.
func (c *conn) mayConfig(o auth.Operation, kind kmsg.ConfigResourceType, name string) (denied *kerr.Error) {
	if kind == kmsg.ConfigResourceTypeTopic {
		if !c.mayTopic(o, name) {
			return kerr.TopicAuthorizationFailed
		}
		return nil
	}
	if !c.mayCluster(o) {
		return kerr.ClusterAuthorizationFailed
	}
	return nil
}

func mayDescribeConfigs(c *conn, req *kmsg.DescribeConfigsRequest, v *verdict) {
	var refusals []kmsg.DescribeConfigsResponseResource
	req.Resources, _ = part(req.Resources, func(r kmsg.DescribeConfigsRequestResource) bool {
		denied := c.mayConfig(auth.DescribeConfigs, r.ResourceType, r.ResourceName)
		if denied != nil {
			refusal := kmsg.NewDescribeConfigsResponseResource()
			refusal.ResourceType, refusal.ResourceName = r.ResourceType, r.ResourceName
			refusal.ErrorCode, refusal.ErrorMessage = denied.Code, textOf(errTopicDenied)
			refusals = append(refusals, refusal)
		}
		return denied == nil
	})
	amend(v, func(resp *kmsg.DescribeConfigsResponse) { resp.Resources = append(resp.Resources, refusals...) })
}

func mayAlterConfigs(c *conn, req *kmsg.AlterConfigsRequest, v *verdict) {
	var refusals []kmsg.AlterConfigsResponseResource
	req.Resources, _ = part(req.Resources, func(r kmsg.AlterConfigsRequestResource) bool {
		denied := c.mayConfig(auth.AlterConfigs, r.ResourceType, r.ResourceName)
		if denied != nil {
			refusal := kmsg.NewAlterConfigsResponseResource()
			refusal.ResourceType, refusal.ResourceName = r.ResourceType, r.ResourceName
			refusal.ErrorCode, refusal.ErrorMessage = denied.Code, textOf(errTopicDenied)
			refusals = append(refusals, refusal)
		}
		return denied == nil
	})
	amend(v, func(resp *kmsg.AlterConfigsResponse) { resp.Resources = append(resp.Resources, refusals...) })
}

func mayIncrementalAlterConfigs(c *conn, req *kmsg.IncrementalAlterConfigsRequest, v *verdict) {
	var refusals []kmsg.IncrementalAlterConfigsResponseResource
	req.Resources, _ = part(req.Resources, func(r kmsg.IncrementalAlterConfigsRequestResource) bool {
		denied := c.mayConfig(auth.AlterConfigs, r.ResourceType, r.ResourceName)
		if denied != nil {
			refusal := kmsg.NewIncrementalAlterConfigsResponseResource()
			refusal.ResourceType, refusal.ResourceName = r.ResourceType, r.ResourceName
			refusal.ErrorCode, refusal.ErrorMessage = denied.Code, textOf(errTopicDenied)
			refusals = append(refusals, refusal)
		}
		return denied == nil
	})
	amend(v, func(resp *kmsg.IncrementalAlterConfigsResponse) { resp.Resources = append(resp.Resources, refusals...) })
}

func mayDescribeLogDirs(c *conn, req *kmsg.DescribeLogDirsRequest, v *verdict) {
	if !c.mayCluster(auth.Describe) {
		resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
		resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		v.instead = resp
	}
}
